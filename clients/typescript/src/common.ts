/** What both entries give. */
export { Code, ConnectError } from '@connectrpc/connect';
export type { CallSettings, RetryOptions } from './calls.js';
export {
  payloadOf,
  replyOf,
  type ClientOptions,
  type ReceiveSettings,
  type SendInit,
  type SendSettings,
  type Source,
} from './client.js';
export { errorOfResult, WebSocketManagerError, type Certainty } from './errors.js';
export type { FollowSettings } from './follow.js';
export * from './gen/rooms_pb.js';
export * from './gen/websocketmanager_pb.js';
export type { Payload } from './payload.js';
export { RoomsApi, type HistorySettings, type RoomPayload, type RoomSendSettings } from './rooms-api.js';
