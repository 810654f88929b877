import { Code, ConnectError } from '@connectrpc/connect';
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from './gen/google/rpc/error_details_pb.js';
import { SendCertainty, type SendResult } from './gen/websocketmanager_pb.js';

/** Whether the frame of a Send that failed may have reached the peer. Repeating `not_sent` is safe. */
export type Certainty = 'not_sent' | 'maybe_sent';

/**
 * What every call of this client fails with: a ConnectError, so that `catch` blocks written for it go on
 * working, and what the service says in its details as plain fields.
 */
export class WebSocketManagerError extends ConnectError {
  /** The service's own word, such as `not_found`, `dial_failed` or `maybe_sent`. */
  readonly reason: string | undefined;
  /** Of a call that changes something: whether it may have been done. */
  readonly certainty: Certainty;
  /** The field at fault. */
  readonly field: string | undefined;
  /** When to come again. */
  readonly retryAfterMs: number | undefined;

  constructor(from: ConnectError, hint?: { message: string; code?: Code; certainty?: Certainty; field?: string }) {
    super(hint?.message ?? from.rawMessage, hint?.code ?? from.code, from.metadata, undefined, from.cause ?? from);
    this.details = from.details;
    const delay = from.findDetails(RetryInfoSchema)[0]?.retryDelay;
    this.reason = from.findDetails(ErrorInfoSchema)[0]?.reason;
    this.field = hint?.field ?? from.findDetails(BadRequestSchema)[0]?.fieldViolations[0]?.field;
    this.retryAfterMs = delay && Number(delay.seconds) * 1000 + delay.nanos / 1e6;
    this.certainty = hint?.certainty ?? certainty(this.code, this.reason);
  }

  // The base class takes everything that looks like a ConnectError for one, which is not enough here.
  static override [Symbol.hasInstance](value: unknown): boolean {
    return Function.prototype[Symbol.hasInstance].call(this, value);
  }
}

/** Refused before anything was done: these codes say so, when it is the service that says them. */
const REFUSALS = [
  Code.InvalidArgument,
  Code.NotFound,
  Code.AlreadyExists,
  Code.PermissionDenied,
  Code.FailedPrecondition,
  Code.ResourceExhausted,
  Code.Unauthenticated,
  Code.Unimplemented,
  Code.OutOfRange,
];

function certainty(code: Code, reason: string | undefined): Certainty {
  if (reason === 'not_sent' || reason === 'maybe_sent') return reason;
  if (code === Code.Unavailable && reason !== undefined) return 'not_sent';
  return REFUSALS.includes(code) ? 'not_sent' : 'maybe_sent';
}

/** An error of this client's own, before anything went out. */
export function refusal(message: string, code: Code, cause?: unknown, field?: string): WebSocketManagerError {
  const error = new ConnectError(message, code, undefined, undefined, cause);
  return new WebSocketManagerError(error, { message, certainty: 'not_sent', field });
}

/** What the result of a Send in a batch or stream failed with. */
export function errorOfResult(result: SendResult): WebSocketManagerError {
  const error = new ConnectError(result.message, result.code as Code);
  const sent = result.certainty === SendCertainty.NOT_SENT ? 'not_sent' : 'maybe_sent';
  return new WebSocketManagerError(error, { message: result.message, certainty: sent });
}

/** The codes of the platform in a chain of causes. */
export function causes(error: unknown): { codes: string[]; text: string } {
  const codes: string[] = [];
  const texts: string[] = [];
  for (let depth = 0; error instanceof Error && depth < 8; depth += 1) {
    if ('code' in error && typeof error.code === 'string') codes.push(codeOf(error));
    texts.push(error.message);
    // Several addresses of one name were tried.
    if (error instanceof AggregateError) error.errors.forEach((one) => codes.push(...causes(one).codes));
    error = error.cause;
  }
  return { codes, text: texts.join('; ') };
}

/** The limit of a connection that did not come about, and of one that fell silent, is one code for the system. */
function codeOf(error: { code?: unknown; syscall?: unknown }): string {
  return error.code === 'ETIMEDOUT' && error.syscall === 'connect' ? 'CONNECT_TIMEOUT' : String(error.code);
}

/** Whom a call went to, for what is said of its failure. */
export interface Target {
  url: string;
  protocol: string;
  /** The service answered this client before: it is the right one, and only broke off. */
  answered: boolean;
}

/** Any failure, with a sentence on what to do where the cause is known. */
export function explain(failure: unknown, target: Target): WebSocketManagerError {
  if (failure instanceof WebSocketManagerError) return failure;
  const error = ConnectError.from(failure);
  // The service's own errors need no explaining.
  if (error.findDetails(ErrorInfoSchema).length > 0) return new WebSocketManagerError(error);
  if (error.code === Code.Unimplemented) {
    const message = `the service does not know this call: it is older than this client (${error.rawMessage || 'no word'})`;
    return new WebSocketManagerError(error, { message });
  }
  const { codes, text } = causes(error);
  const unfit = UNFIT.exec(text);
  if (unfit) {
    const [, field = '', why = ''] = unfit;
    const hint = { message: `${field}: does not fit its type: ${why}`, code: Code.InvalidArgument, field };
    return new WebSocketManagerError(error, { ...hint, certainty: 'not_sent' });
  }
  // Whoever answered before speaks the protocol: its answer was cut off, after who knows what was done.
  const foreign = anotherProtocol(target, codes, text);
  if (foreign && target.answered) return brokenOff(error, target, text);
  const wrong = unreachable(target, codes, text) ?? foreign;
  if (wrong) return new WebSocketManagerError(error, { message: wrong, code: Code.Unavailable, certainty: 'not_sent' });
  if (BROKEN.test(codes.join()) || /Expected HTTP\//.test(text) || /error code (CANCEL|INTERNAL_ERROR) \(|REFUSED_STREAM|ENHANCE_YOUR_CALM|GOAWAY/.test(text)) {
    return brokenOff(error, target, text);
  }
  if (target.protocol !== 'grpc' && /fetch failed|Failed to fetch|NetworkError|Load failed/i.test(text)) {
    const message =
      `${target.url} cannot be reached, or refuses this page: is that the HTTP port (5001 by default, not gRPC's ` +
      `5002), and does --cors-origin name the page's origin? (${text})`;
    return new WebSocketManagerError(error, { message, code: Code.Unavailable, certainty: 'maybe_sent' });
  }
  return new WebSocketManagerError(error);
}

/** What a request's fields are refused with before it goes out. */
const UNFIT = /cannot encode field [\w.]+\.(\w+) to (?:binary|JSON): (.*)/;
const UNREACHED = [
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'CONNECT_TIMEOUT',
  'UND_ERR_CONNECT_TIMEOUT',
];
const BROKEN = /ECONNRESET|ETIMEDOUT|EPIPE|UND_ERR_SOCKET|ERR_HTTP2_(STREAM_CANCEL|SESSION_ERROR|GOAWAY_SESSION|INVALID_SESSION)/;

function unreachable({ url }: Target, codes: string[], text: string): string | undefined {
  const tls = url.startsWith('https:');
  if (codes.some((code) => UNREACHED.includes(code))) return `nobody answers at ${url}: ${text}`;
  if (codes.includes('ERR_SSL_WRONG_VERSION_NUMBER') || /wrong version number|packet length too long/.test(text)) {
    return `${url} speaks no TLS: use an http: URL, or give the service --tls-cert and --tls-key`;
  }
  if (tls && codes.some((code) => /CERT|SELF_SIGNED|UNABLE_TO|ALTNAME/.test(code))) {
    return `the certificate of ${url} is not trusted (${text}): give its authority as tls.ca`;
  }
  if (tls && codes.some((code) => /^ERR_SSL|^EPROTO/.test(code))) return `no TLS with ${url}: ${text}`;
  return undefined;
}

function anotherProtocol({ url, protocol }: Target, codes: string[], text: string): string | undefined {
  if (protocol === 'grpc' && (codes.includes('ERR_HTTP2_ERROR') || /H2 is not supported/i.test(text))) {
    return (
      `${url} does not speak gRPC over HTTP/2: use the gRPC port (5002 by default), or protocol: 'grpc-web' for ` +
      `what stands behind an HTTP/1.1 proxy (${text})`
    );
  }
  const foreign = /HTTP 400|missing trailer|unsupported content type|unexpected response content/i;
  if (protocol !== 'grpc' && foreign.test(text)) {
    return (
      `${url} does not answer ${protocol}: use the HTTP port (5001 by default); the gRPC port (5002) takes native ` +
      `gRPC only (${text})`
    );
  }
  return undefined;
}

/** Ended in the midst of a call: at the first one by a server that waits for TLS, later by one that stops. */
function brokenOff(error: ConnectError, { url, answered }: Target, text: string): WebSocketManagerError {
  if (answered || url.startsWith('https:')) {
    const message = `${url} broke the connection off (${text})`;
    return new WebSocketManagerError(error, { message, code: Code.Aborted, certainty: 'maybe_sent' });
  }
  const message = `${url} broke the connection off: if the service asks for TLS, use an https: URL (${text})`;
  return new WebSocketManagerError(error, { message, code: Code.Unavailable, certainty: 'maybe_sent' });
}
