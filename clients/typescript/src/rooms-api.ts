import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import type { Calls, CallSettings } from './calls.js';
import type {
  BroadcastResponse,
  HistoryResponse,
  JoinResponse,
  KickUserResponse,
  ListMembersResponse,
  ListRoomsRequestSchema,
  ListRoomsResponse,
  Rooms,
  RoomSendResponse,
  SendToUserResponse,
} from './gen/rooms_pb.js';
import { body, type Payload } from './payload.js';

export interface RoomSendSettings extends CallSettings {
  /** Wraps the message, which must then be JSON, as `{"MESSAGE_ID": ..., "message": ...}`. */
  messageId?: string;
  contentType?: string;
}

export interface HistorySettings extends CallSettings {
  /** After this position; without one, the last messages. */
  after?: { epoch: bigint; offset: bigint };
  limit?: number;
}

/** A message that is no text and no bytes is sent as its JSON. */
export type RoomPayload = Payload | object;

/** Rooms, as an application that sends to them sees them. */
export class RoomsApi {
  readonly #rooms: Client<typeof Rooms>;
  readonly #calls: Calls;

  constructor(rooms: Client<typeof Rooms>, calls: Calls) {
    this.#rooms = rooms;
    this.#calls = calls;
  }

  /** To the members of one or more rooms; a member of several gets it once. */
  async send(rooms: string | string[], message: RoomPayload, settings: RoomSendSettings = {}): Promise<RoomSendResponse> {
    const request = { rooms: [rooms].flat(), ...content(message, settings) };
    return this.#calls.once('if_not_sent', settings, (options) => this.#rooms.send(request, options));
  }

  /** To every accepted connection. */
  async broadcast(message: RoomPayload, settings: RoomSendSettings = {}): Promise<BroadcastResponse> {
    const request = content(message, settings);
    return this.#calls.once('if_not_sent', settings, (options) => this.#rooms.broadcast(request, options));
  }

  /** To each of a user's connections. */
  async sendToUser(user: string, message: RoomPayload, settings: RoomSendSettings = {}): Promise<SendToUserResponse> {
    const request = { user, ...content(message, settings) };
    return this.#calls.once('if_not_sent', settings, (options) => this.#rooms.sendToUser(request, options));
  }

  /** Closes all of a user's connections. */
  kickUser(
    user: string,
    settings: CallSettings & { code?: number; reason?: string } = {},
  ): Promise<KickUserResponse> {
    const { code, reason } = settings;
    return this.#calls.once('if_not_sent', settings, (options) => this.#rooms.kickUser({ user, code, reason }, options));
  }

  /** Makes an accepted connection a member. Answered when what comes next will be heard. */
  join(room: string, id: string, settings: CallSettings = {}): Promise<JoinResponse> {
    return this.#calls.once('always', settings, (options) => this.#rooms.join({ room, id }, options));
  }

  async leave(room: string, id: string, settings: CallSettings = {}): Promise<void> {
    await this.#calls.once('if_not_sent', settings, (options) => this.#rooms.leave({ room, id }, options));
  }

  /** Rooms that have members, a page of them. */
  list(
    request: MessageInitShape<typeof ListRoomsRequestSchema> = {},
    settings: CallSettings = {},
  ): Promise<ListRoomsResponse> {
    return this.#calls.once('always', settings, (options) => this.#rooms.listRooms(request, options));
  }

  /** Members of a room, a page of them. */
  members(
    room: string,
    request: { pageSize?: number; pageToken?: string } = {},
    settings: CallSettings = {},
  ): Promise<ListMembersResponse> {
    return this.#calls.once('always', settings, (options) => this.#rooms.listMembers({ ...request, room }, options));
  }

  /** What a room keeps. */
  history(room: string, settings: HistorySettings = {}): Promise<HistoryResponse> {
    const request = { room, ...settings.after, limit: settings.limit };
    return this.#calls.once('always', settings, (options) => this.#rooms.history(request, options));
  }
}

function content(message: RoomPayload, settings: RoomSendSettings) {
  const plain = typeof message === 'object' && !(message instanceof Uint8Array);
  const payload = plain ? JSON.stringify(message) : message;
  return { ...body(payload, settings.contentType), messageId: settings.messageId };
}
