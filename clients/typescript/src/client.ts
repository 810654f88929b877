import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  Code,
  ConnectError,
  createClient,
  type CallOptions,
  type Client,
  type Interceptor,
  type Transport,
} from '@connectrpc/connect';
import { Calls, checkedMs, checkedRetry, type CallSettings, type RetryOptions } from './calls.js';
import { errorOfResult, refusal, WebSocketManagerError } from './errors.js';
import { follow, type FollowSettings } from './follow.js';
import { Health, HealthCheckResponse_ServingStatus as Serving } from './gen/grpc/health/v1/health_pb.js';
import { Rooms } from './gen/rooms_pb.js';
import {
  ConnectionStatus,
  WebSocketManager,
  type ConnectRequestSchema,
  type ConnectResponse,
  type DisconnectResponse,
  type LifecycleEvent,
  type ListRequestSchema,
  type ListResponse,
  type ReceivedMessage,
  type SendRawResponse,
  type SendRequestSchema,
  type SendResponse,
  type SendResult,
  type StartPublishRequestSchema,
  type StartPublishResponse,
  type StopPublishResponse,
  type UpdateResponse,
  type WebSocketConnection,
} from './gen/websocketmanager_pb.js';
import { binary, body, type Payload } from './payload.js';
import { RoomsApi } from './rooms-api.js';

export interface ClientOptions {
  /** The service, with its port. */
  url: string;
  /** Of a call, in milliseconds, when it says nothing else; 0: none. Default: 30000. */
  timeout?: number;
  /** Sent as `Authorization: Bearer`, with each call; a function is asked for each. */
  token?: string | (() => string | Promise<string>);
  /** Sent with each call. */
  headers?: HeadersInit;
  /** How calls that may be repeated are. */
  retry?: RetryOptions | false;
  interceptors?: Interceptor[];
}

/** A request as its fields, without the type's own marks. */
type Fields<T> = Omit<T, '$typeName' | '$unknown'>;
type ConnectFields = Fields<MessageInitShape<typeof ConnectRequestSchema>>;
type SendFields = Fields<MessageInitShape<typeof SendRequestSchema>>;
type PublishFields = Fields<MessageInitShape<typeof StartPublishRequestSchema>>;
type ListFields = Fields<MessageInitShape<typeof ListRequestSchema>>;

/** A Send or SendRaw as an object: `message` may be bytes. */
export type SendInit = Omit<SendFields, 'message'> & { id: string; message?: Payload };

export type SendSettings = Omit<SendFields, 'id' | 'message' | 'data'> & CallSettings & { callTimeoutMs?: number };

/** One of these is followed. */
export type Source = { id: string } | { tags: Record<string, string> } | { topic: string } | { room: string };

export type ReceiveSettings = FollowSettings & {
  /** From the oldest that is kept. */
  fromStart?: boolean;
};

/** How much longer the call waits than the Send, for the answer to come back. */
const MARGIN_MS = 2000;
const DEFAULT_SEND_MS = 10_000;
/** How long a service may take to say whether it serves, for clients without a time limit. */
const SERVING_MS = 10_000;

/** What the clients for browsers and for Node share. */
export class BaseClient {
  /** The generated clients, for what is not here; they take the same transport. */
  readonly grpc: Client<typeof WebSocketManager>;
  readonly rooms: RoomsApi;
  protected readonly calls: Calls;
  readonly #health: Client<typeof Health>;

  constructor(options: ClientOptions, protocol: string, transport: Transport) {
    const { timeout = 30_000, retry = {} } = options;
    const limit = checkedMs('timeout', timeout);
    this.calls = new Calls(options.url, protocol, limit, checkedRetry(retry));
    this.grpc = createClient(WebSocketManager, transport);
    this.#health = createClient(Health, transport);
    this.rooms = new RoomsApi(createClient(Rooms, transport), this.calls);
  }

  /** Opens a connection to a WebSocket server. With a `connectionId` of yours it can be repeated. */
  connect(request: string | ConnectFields, more?: boolean | ConnectFields, settings: CallSettings = {}): Promise<ConnectResponse> {
    const rest = typeof more === 'boolean' ? { autoReconnect: more } : more;
    const fields = typeof request === 'string' ? { ...rest, url: request } : { ...request, ...rest };
    const repeatable = fields.connectionId ? 'always' : 'if_not_sent';
    // The service may try each of the URLs for that long.
    const dials = (fields.connectTimeoutMs ?? 0) * (1 + (fields.fallbackUrls?.length ?? 0));
    return this.calls.once(repeatable, this.#patient(dials, settings), (options) => this.grpc.connect(fields, options));
  }

  /** A page of connections; `nextPageToken` asks for the next. */
  list(request: ListFields = {}, settings: CallSettings = {}): Promise<ListResponse> {
    return this.calls.once('always', settings, (options) => this.grpc.list(request, options));
  }

  /** All connections, page by page. */
  async *connections(request: ListFields = {}, settings: CallSettings = {}): AsyncGenerator<WebSocketConnection> {
    for (let pageToken = request.pageToken ?? ''; ; ) {
      const page = await this.list({ ...request, pageToken }, settings);
      yield* page.connections;
      pageToken = page.nextPageToken;
      if (pageToken === '') return;
    }
  }

  async get(request: string | { id: string }, settings: CallSettings = {}): Promise<WebSocketConnection> {
    const answer = await this.calls.once('always', settings, (options) => this.grpc.get(named(request), options));
    if (answer.connection === undefined) throw refusal('the answer holds no connection', Code.Internal);
    return answer.connection;
  }

  /** Changes what can change on a living connection; `paths` names what is set to its zero value too, as here or as in the proto. */
  update(id: string, changes: ConnectFields, settings: CallSettings & { paths?: string[] } = {}): Promise<UpdateResponse> {
    const { paths } = settings;
    const request = { id, settings: changes, updateMask: paths && { paths: paths.map(snakeCase) } };
    return this.calls.once('always', settings, (options) => this.grpc.update(request, options));
  }

  disconnect(
    request: string | { id: string; code?: number; reason?: string },
    settings: CallSettings & { code?: number; reason?: string } = {},
  ): Promise<DisconnectResponse> {
    const { code, reason } = settings;
    const fields = { code, reason, ...named(request) };
    return this.calls.once('if_not_sent', settings, (options) => this.grpc.disconnect(fields, options));
  }

  /** Sends a message and waits for its reply. */
  async send(
    request: string | SendInit,
    message?: Payload,
    contentType?: string | SendSettings,
    timeoutMs?: number,
  ): Promise<SendResponse> {
    const { settings, fields } = sendOf(request, message, contentType, timeoutMs);
    const patient = this.#patient(fields.timeoutMs || DEFAULT_SEND_MS, settings);
    return this.calls.once('if_not_sent', patient, (options) => this.grpc.send(fields, options));
  }

  /** Sends a message; done when it was written to the socket. */
  async sendRaw(
    request: string | SendInit,
    message?: Payload,
    contentType?: string | (CallSettings & { contentType?: string }),
  ): Promise<SendRawResponse> {
    const { settings, fields } = sendOf(request, message, contentType);
    return this.calls.once('if_not_sent', settings, (options) => this.grpc.sendRaw(fields, options));
  }

  /** Many Sends in one call; the results are in the order of the requests. */
  async sendBatch(requests: SendInit[], settings: CallSettings = {}): Promise<SendResult[]> {
    const fields = requests.map((request) => sendOf(request).fields);
    const longest = Math.max(0, ...fields.map(({ timeoutMs }) => timeoutMs || DEFAULT_SEND_MS));
    const answer = await this.calls.once('if_not_sent', this.#patient(longest, settings), (options) =>
      this.grpc.sendBatch({ requests: fields }, options),
    );
    return answer.results;
  }

  startPublish(
    request: string | PublishFields,
    topic?: string,
    settings: CallSettings & Omit<PublishFields, 'id' | 'topic'> = {},
  ): Promise<StartPublishResponse> {
    const { format, ordering, overflow, gaps, overflowKey } = settings;
    const fields = { format, ordering, overflow, gaps, overflowKey, topic, ...named(request) };
    return this.calls.once('if_not_sent', settings, (options) => this.grpc.startPublish(fields, options));
  }

  stopPublish(request: string | { id: string }, settings: CallSettings = {}): Promise<StopPublishResponse> {
    return this.calls.once('always', settings, (options) => this.grpc.stopPublish(named(request), options));
  }

  /** An empty value takes the tag away. */
  async setTag(id: string, key: string, value: string, settings: CallSettings = {}): Promise<void> {
    await this.calls.once('always', settings, (options) => this.grpc.setTag({ id, key, value }, options));
  }

  /** Undefined when there is no such tag; an error when there is no such connection. */
  async getTag(id: string, key: string, settings: CallSettings = {}): Promise<string | undefined> {
    try {
      const answer = await this.calls.once('always', settings, (options) => this.grpc.getTag({ id, key }, options));
      return answer.value;
    } catch (error) {
      if (!(error instanceof WebSocketManagerError) || error.code !== Code.NotFound) throw error;
      // Both are NOT_FOUND. Whoever has tags is there.
      await this.getTags(id, settings);
      return undefined;
    }
  }

  /** Merges; an empty value takes a tag away. */
  async setTags(id: string, tags: Record<string, string>, settings: CallSettings = {}): Promise<void> {
    await this.calls.once('always', settings, (options) => this.grpc.setTags({ id, tags }, options));
  }

  async getTags(id: string, settings: CallSettings = {}): Promise<Record<string, string>> {
    const answer = await this.calls.once('always', settings, (options) => this.grpc.getTags({ id }, options));
    return answer.tags;
  }

  /**
   * Follows a connection, those with tags, a topic or a room. Items are messages (`body.case` is `text` or
   * `data`), gaps (`gap`) and ends (`end`); each has a cursor to come back with.
   */
  receive(source: string | Source, settings: ReceiveSettings = {}): AsyncGenerator<ReceivedMessage, void, undefined> {
    const what = sourceOf(source);
    if (settings.fromStart && settings.cursor) throw new TypeError('fromStart: give it or cursor, not both');
    return follow(this.calls, settings, {
      open: (cursor, options) =>
        this.grpc.receive({ source: what, cursor, fromStart: cursor === '' && settings.fromStart === true }, options),
      counts: (item) => item.body.case !== undefined,
      ends: (item) => item.body.case === 'end',
      over: what.case === 'id' ? (options) => this.#ended(what.value, options) : undefined,
    });
  }

  /** Follows what becomes of connections: all, one, or those with tags. */
  watch(
    source: { id?: string; tags?: Record<string, string> } = {},
    settings: FollowSettings = {},
  ): AsyncGenerator<LifecycleEvent, void, undefined> {
    const { id, tags } = source;
    return follow(this.calls, settings, {
      open: (cursor, options) => this.grpc.watch({ id, filters: filters(tags), cursor }, options),
      counts: (event) => event.type !== '',
    });
  }

  /** Ends what is under way and lets go of the service. Closing again does nothing. */
  close(): void {
    this.calls.close();
  }

  /**
   * Whether nothing will come from a connection any more. A service that stops has given its connections away
   * and does not know them any more either: only what one says after it was found serving counts.
   */
  async #ended(id: string, options: CallOptions): Promise<boolean> {
    return (await this.#gone(id, options)) && (await this.#serving(options)) && (await this.#gone(id, options));
  }

  async #gone(id: string, options: CallOptions): Promise<boolean> {
    try {
      const { connection } = await this.grpc.get({ id }, { ...options, timeoutMs: this.calls.timeoutMs });
      return connection?.status === ConnectionStatus.DISCONNECTED && !connection.autoReconnect;
    } catch (error) {
      const { code } = ConnectError.from(error);
      if (code === Code.NotFound || code === Code.Unimplemented) return true;
      throw error;
    }
  }

  /** Whether the service takes new work. It is watched, for a moment: by all protocols that is one and the same. */
  async #serving({ signal, headers }: CallOptions): Promise<boolean> {
    const held = this.calls.hold(signal);
    // A stream's own limit would go on after it was left.
    const late = () => held.abort(new ConnectError('the service does not say whether it serves', Code.Unavailable));
    const timer = setTimeout(late, this.calls.timeoutMs || SERVING_MS);
    try {
      for await (const { status } of this.#health.watch({}, { signal: held.signal, headers, timeoutMs: 0 })) return status === Serving.SERVING;
      return false;
    } catch (error) {
      // One that cannot be asked is older, and says what it means.
      if (ConnectError.from(error).code === Code.Unimplemented) return true;
      throw error;
    } finally {
      clearTimeout(timer);
      held.abort(new ConnectError('no longer watched', Code.Canceled));
      held.release();
    }
  }

  /** What may take longer than calls do otherwise. */
  #patient(timeoutMs: number, settings: CallSettings): CallSettings {
    if (settings.timeoutMs !== undefined || this.calls.timeoutMs === 0) return settings;
    return { ...settings, timeoutMs: Math.max(this.calls.timeoutMs, timeoutMs + MARGIN_MS) };
  }
}

/** A reply's text or bytes, whichever it is. */
export function payloadOf(response: SendResponse): Payload {
  return response.data.length > 0 ? response.data : response.response;
}

/** The reply in a batch's result, or what it failed with. */
export function replyOf(result: SendResult): SendResponse {
  if (result.code !== 0) throw errorOfResult(result);
  if (result.response === undefined) throw refusal('the result holds no reply', Code.Internal);
  return result.response;
}

function named<T extends { id?: string }>(request: string | T): { id: string } | T {
  return typeof request === 'string' ? { id: request } : request;
}

/** A Send by its arguments or as one object, as fields of the wire. */
export function sendOf(
  request: string | SendInit,
  message?: Payload,
  more?: string | (SendSettings & CallSettings),
  timeoutMs?: number,
): { fields: SendFields; settings: CallSettings } {
  const given = typeof more === 'string' ? { contentType: more } : (more ?? {});
  const { signal, headers, callTimeoutMs, ...rest } = given as SendSettings;
  const settings = { signal, headers, timeoutMs: callTimeoutMs };
  if (typeof request !== 'string') {
    const { message: payload = message, data, ...fields } = request;
    const { contentType = rest.contentType } = fields;
    const contents = data === undefined ? body(payload, contentType) : binary(data, payload, contentType);
    return { fields: { ...rest, ...fields, ...contents }, settings };
  }
  const limit = timeoutMs === undefined ? {} : { timeoutMs };
  return { fields: { ...rest, ...limit, id: request, ...body(message, given.contentType) }, settings };
}

function filters(tags: Record<string, string> = {}) {
  return Object.entries(tags).map(([key, value]) => ({ key, value }));
}

function sourceOf(source: string | Source) {
  const given = typeof source === 'string' ? { id: source } : source;
  const kinds = Object.keys(given).filter((kind) => ['id', 'tags', 'topic', 'room'].includes(kind));
  if (kinds.length !== 1) {
    throw new TypeError(`source: give exactly one of id, tags, topic and room, not ${kinds.join(', ') || 'none'}`);
  }
  if ('tags' in given) return { case: 'filter' as const, value: { filters: filters(given.tags) } };
  if ('topic' in given) return { case: 'topic' as const, value: given.topic };
  if ('room' in given) return { case: 'room' as const, value: given.room };
  return { case: 'id' as const, value: given.id };
}

function snakeCase(path: string): string {
  return path.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** What each request carries. */
export function sentWithEach(options: ClientOptions): Interceptor[] {
  const { token, interceptors = [] } = options;
  const headers = new Headers(options.headers);
  const carry: Interceptor = (next) => async (request) => {
    headers.forEach((value, name) => request.header.set(name, value));
    const shown = await tokenOf(token);
    if (shown) request.header.set('authorization', `Bearer ${shown}`);
    return next(request);
  };
  return [...interceptors, carry];
}

/** One that cannot be had now may be had later: what is followed is taken up again then. */
async function tokenOf(token: ClientOptions['token']): Promise<string | undefined> {
  try {
    return typeof token === 'function' ? await token() : token;
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    throw refusal(`token: could not be had: ${text}`, Code.Unavailable, error);
  }
}
