/**
 * Rooms in a browser, over one WebSocket: joins, comes back by itself after what was read last, and says
 * what is missing. It needs no other module.
 */

/** A place in a room's numbers. Epochs only grow; offsets begin at 1 in each. */
export interface Position {
  epoch: number;
  offset: number;
}

/** A message as it came. Those to a user have no numbers. */
export interface RoomMessage extends Position {
  room: string;
  /** An object or array where the message is JSON of that kind, its text otherwise, bytes of a binary one. */
  data: unknown;
  /** The name of its type, of a message that has one. */
  type?: string;
  /** Its places in other rooms. */
  also?: (Position & { room: string })[];
  /** The user that it was sent to. */
  user?: string;
  /** In a room without history: the instance that numbered it. */
  from?: string;
}

/** Messages between both positions, exclusively, will not come, or not all of them. */
export interface RoomGap {
  room: string;
  from: Position;
  to: Position;
  /** `new_epoch`, `lost`, `slow_reader`, or `not_kept`: what is still kept of it follows. */
  cause: string;
}

/** A request that the service refused, or a token that could not be had. */
export interface RoomError {
  room?: string;
  code: string;
  message: string;
}

export type RoomState = 'connecting' | 'open' | 'waiting' | 'closed';

export interface RoomClientOptions {
  /** Shown as the subprotocol `bearer.<token>`; a function is asked anew for each connection. */
  token?: string | (() => string | Promise<string>);
  /** Of the way in; `{room}` is the first room that was joined. Default: `/ws/{room}`. */
  path?: string;
  /** Waiting before coming back: a random time up to this, doubled each time. Default: 500. */
  baseMs?: number;
  /** At most this. Default: 30000. */
  maxMs?: number;
  /** Silence after which the service is asked whether it is there. Default: 20000. */
  pingMs?: number;
  /** Whether to come back. Default: not after 1000 and the application's own codes, 3000 to 4999. */
  reconnect?: (closed: CloseEvent) => boolean;
  /** Where there is none of that name. */
  WebSocket?: new (url: string, subprotocols: string[]) => WebSocket;
}

type Off = () => void;
type Handler = (...told: any[]) => void;

/** Types by the names that messages have on the wire (`MESSAGE_ID`). */
export type RoomMessages = object;

/** The service takes 50 requests at once and then 20 a second: 30 at once and then 16. */
const PACE_MS = 60;
const BURST_MS = 1800;

/** Who wants to know of what. */
class Told {
  #handlers = new Set<[what: string, Handler]>();

  protected listen(what: string, handler: Handler): Off {
    const entry: [string, Handler] = [what, handler];
    this.#handlers.add(entry);
    return () => this.#handlers.delete(entry);
  }

  /** @internal A handler that throws stops neither the others nor what comes next. */
  tell(what: string, ...told: unknown[]): void {
    for (const [wanted, handler] of this.#handlers) {
      try {
        if (wanted == what) handler(...told);
      } catch (error) {
        (globalThis.reportError ?? console.error)(error);
      }
    }
  }
}

/** One room, or what comes to the user or to everybody. */
export class Room<M extends RoomMessages = Record<string, any>> extends Told {
  /** What was read last. */
  at?: Position;
  /** @internal The join that was not answered yet: until then what comes is not in order, and comes again. */
  ask?: number;
  /** @internal Read already, as messages of other rooms. */
  had = new Set<number>();

  constructor(
    readonly name = '',
    readonly leave = () => {},
  ) {
    super();
  }

  /** Messages of this type. */
  on<K extends keyof M & string>(type: K, handler: (message: M[K], at: RoomMessage) => void): Off {
    return this.listen(':' + type, handler);
  }

  /** All messages. */
  onMessage(handler: (message: RoomMessage) => void): Off {
    return this.listen('', handler);
  }

  onGap(handler: (gap: RoomGap) => void): Off {
    return this.listen('gap', handler);
  }

  /** In the room, also again; after a time outside, whether everything that was missed follows. */
  onJoined(handler: (recovered?: boolean) => void): Off {
    return this.listen('in', handler);
  }
}

export class RoomClient<M extends RoomMessages = Record<string, any>> extends Told {
  /** Messages to the user that the token names. */
  readonly user = new Room<M>();
  /** Messages to everybody. */
  readonly everyone = new Room<M>();
  state: RoomState = 'waiting';
  #base: URL;
  #options: RoomClientOptions;
  #rooms = new Map([['', this.everyone]]);
  #socket?: WebSocket;
  #attempt = 0;
  #asked = 0;
  /** When there is a turn for the next request: some at once, then one a while. */
  #turns = 0;
  #timer?: ReturnType<typeof setTimeout>;
  #beat?: ReturnType<typeof setTimeout>;

  /** The service's HTTP port, as http(s): or ws(s): URL; a page of its own origin needs none. */
  constructor(url: string | URL = location.origin, options: RoomClientOptions = {}) {
    super();
    this.#base = new URL(url);
    if (!/^(http|ws)/.test(this.#base.href)) throw Error('url: ' + url);
    this.#options = options;
  }

  /** The room, joined as soon as there is a connection and as often as it comes back. */
  join(name: string): Room<M> {
    if (this.state == 'closed') throw Error('client is closed');
    let room = this.#rooms.get(name);
    if (!room) {
      room = new Room<M>(name, () => {
        if (this.#rooms.delete(name)) this.#pace(() => this.#say({ leave: name }));
      });
      this.#rooms.set(name, room);
      if (this.state == 'open') this.#enter(room);
      else if (!this.#timer) this.#later(0);
    }
    return room;
  }

  /** A message of this client's, for routes that take some. False: there is no connection now. */
  send(message: string): boolean {
    const open = this.state == 'open';
    if (open) this.#socket!.send(message);
    return open;
  }

  onState(handler: (state: RoomState, closed?: CloseEvent) => void): Off {
    return this.listen('state', handler);
  }

  onError(handler: (error: RoomError) => void): Off {
    return this.listen('error', handler);
  }

  /** For good. */
  close(): void {
    this.#drop();
    clearTimeout(this.#timer);
    this.#turn('closed');
  }

  #turn(state: RoomState, closed?: CloseEvent): void {
    if (this.state != state) this.tell('state', (this.state = state), closed);
  }

  #later(ms: number): void {
    this.#timer = setTimeout(() => this.#connect(), ms);
  }

  async #connect(): Promise<undefined> {
    // Nothing to come back for: the next join does.
    if (this.#rooms.size < 2) return (this.#timer = undefined);
    this.#turn('connecting');
    const { token, path = '/ws/{room}', WebSocket: Socket = WebSocket } = this.#options;
    try {
      const shown = token instanceof Function ? await token() : token;
      // Closed meanwhile.
      if (this.state != 'connecting') return;
      const [, first] = this.#rooms.keys();
      const way = new URL(path.replace('{room}', encodeURIComponent(first!)), this.#base);
      const socket = new Socket(way.href.replace(/^http/, 'ws'), ['wsm.rooms.v1', ...(shown ? ['bearer.' + shown] : [])]);
      socket.onopen = () => {
        this.#turn('open');
        this.#listening();
        // The service counts anew for each connection.
        this.#turns = 0;
        for (const room of this.#rooms.values()) if (room.name || room.at) this.#enter(room);
      };
      socket.onmessage = (event) => this.#heard(event.data);
      socket.onclose = (event) => this.#lost(event);
      // Where nobody listens for errors, the library ws throws them.
      socket.onerror = () => {};
      this.#socket = socket;
    } catch (error) {
      this.tell('error', { code: 'OPEN', message: '' + error });
      this.#lost();
    }
  }

  #enter(room: Room<M>, ms?: number): void {
    this.#pace(() => {
      const { name, at } = room;
      if (this.#rooms.get(name) != room) return;
      const id = (room.ask = ++this.#asked);
      this.#say(at ? { resume: { room: name, ...at }, id } : { join: name, id });
    }, ms);
  }

  /** At once where it can be: nothing may come between the opening and a resume. */
  #pace(request: () => void, ms = 0): void {
    const now = Date.now();
    const socket = this.#socket;
    this.#turns = Math.max(this.#turns, now) + PACE_MS;
    if ((ms += this.#turns - now - BURST_MS) > 0) setTimeout(() => socket == this.#socket && request(), ms);
    else request();
  }

  #say(request: unknown): void {
    this.send(JSON.stringify(request));
  }

  /** Nothing for long, then no answer either: a connection that only seems to be there. */
  #listening(asked?: boolean): void {
    clearTimeout(this.#beat);
    this.#beat = setTimeout(() => {
      if (asked) return this.#lost();
      this.#say({ ping: 1 });
      this.#listening(true);
    }, this.#options.pingMs ?? 20000);
  }

  #drop(): void {
    clearTimeout(this.#beat);
    const socket = this.#socket;
    if (socket) {
      socket.onmessage = socket.onclose = null;
      socket.close();
    }
    this.#socket = undefined;
  }

  #lost(closed?: CloseEvent): void {
    const { reconnect = ({ code }) => code != 1000 && code < 3000, baseMs = 500, maxMs = 30000 } = this.#options;
    this.#drop();
    if (closed && !reconnect(closed)) return this.#turn('closed', closed);
    this.#later(Math.random() * Math.min(maxMs, baseMs * 2 ** this.#attempt++));
    this.#turn('waiting', closed);
  }

  #heard(text: string): void {
    this.#listening();
    const frame = JSON.parse(text);
    const { gap, error, joined, user } = frame;
    const name = joined ?? (gap ?? frame).room;
    const room = user == null ? this.#rooms.get(name) : this.user;
    if (error) this.#refused(error, frame.id);
    else if (room) {
      if (gap) this.#missing(gap, room);
      else if ('recovered' in frame || joined) this.#entered(frame, room);
      else this.#message(frame, room);
    }
  }

  #entered({ epoch, offset, recovered, id }: any, room: Room<M>): void {
    if (room.ask != id) return;
    this.#attempt = room.ask = 0;
    const { at: from, name } = room;
    if (!from) room.at = { epoch, offset };
    else if (!recovered) {
      // What is still kept of the new epoch comes next.
      if (epoch != from.epoch) this.#moved(room, epoch, 0);
      room.tell('gap', { room: name, from, to: { epoch, offset: offset + 1 }, cause: 'not_kept' });
    }
    room.tell('in', from && recovered);
  }

  #refused({ code, message }: any, id: number): void {
    const room = [...this.#rooms.values()].find(({ ask }) => ask && ask == id);
    // UNAVAILABLE and RESOURCE_EXHAUSTED pass.
    if (room && /^[UR]/.test(code)) this.#enter(room, 5000 * Math.random());
    else if (room) this.#rooms.delete(room.name);
    this.tell('error', { room: room?.name, code, message });
  }

  #missing(gap: RoomGap, room: Room<M>): void {
    let { epoch, offset } = gap.to;
    if (this.#newer(room, epoch, --offset)) {
      this.#moved(room, epoch, offset);
      room.tell('gap', gap);
    }
  }

  #moved(room: Room<M>, epoch: number, offset: number): void {
    const { had, at } = room;
    if (at?.epoch != epoch) had.clear();
    for (const known of had) if (known <= offset) had.delete(known);
    while (had.delete(offset + 1)) offset++;
    room.at = { epoch, offset };
  }

  #message(frame: any, room: Room<M>): void {
    const { epoch, offset, also = [], from, dataBase64, data } = frame;
    if (epoch && !from) {
      if (!this.#newer(room, epoch, offset)) return;
      const had = room.had.has(offset);
      this.#moved(room, epoch, offset);
      if (had) return;
      for (const other of also) {
        // It will not come there too, unless that room is entered anew.
        const there = this.#rooms.get(other.room);
        if (there?.at?.epoch == other.epoch) there!.had.add(other.offset);
      }
    }
    if (dataBase64 != null) frame.data = Uint8Array.from(atob(dataBase64), (byte) => byte.charCodeAt(0));
    const type = (frame.type = data?.MESSAGE_ID);
    if (type) room.tell(':' + type, data.message, frame);
    room.tell('', frame);
  }

  /** Beyond what was read of this room, and in order; lower epochs are over. */
  #newer({ at, ask }: Room<M>, epoch: number, offset: number): boolean {
    return !ask && (!at || epoch > at.epoch || (epoch == at.epoch && offset > at.offset));
  }
}
