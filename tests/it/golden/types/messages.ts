// Made by `websocket-manager types` from JSON Schemas; changes here will be lost.

/**
 * One line of a chat
 * Sent to everybody in the room.
 * The sender *\/ sees it too.
 */
export interface ChatMessage {
  author: ChatMessageUser;
  edited?: boolean;
  kind: "text" | "image" | "sticker";
  mentions?: ChatMessageUser[];
  place?: ChatMessagePlace;
  reactions?: { [key: string]: number };
  reply_to?: ChatMessage;
  sent_at: string;
  /** As it was typed. */
  text: string;
  thread?: string | null;
}

export interface OrderUpdated {
  anything?: unknown;
  /**
   * Two schemas at once.
   * allOf has no counterpart here.
   */
  both?: unknown;
  buyer?: ChatMessageUser;
  class: "order";
  /** Refers to https://example.com/other.json, which is not followed here. */
  elsewhere?: unknown;
  lines?: OrderUpdatedLinesItem[];
  numbers?: (number | null)[];
  "order-id": string;
  /** A list whose items differ by place. */
  pair?: unknown[];
  state: OrderUpdatedStateOpen | OrderUpdatedStateClosed | null;
  /** Values differ by the pattern of their keys. */
  tags?: { [key: string]: unknown };
  version?: 1 | 2 | 2.5 | true | null;
  undescribed: unknown;
  [key: string]: unknown;
}

/** Who is there, by name. */
export type Presence = { [key: string]: PresenceState };

export type Tree = string | Tree[];

export interface ChatMessageUser {
  id: ChatMessageId;
  name?: string;
}

/** Digits, or a name. */
export type ChatMessageId = number | string;

/** Where it was sent from. */
export interface ChatMessagePlace {
  lat: number;
  lon: number;
}

export interface OrderUpdatedLinesItem {
  "2nd price"?: number;
  count?: number | string;
  int?: number;
}

/** open */
export interface OrderUpdatedStateOpen {
  since: string;
}

/** closed */
export interface OrderUpdatedStateClosed {
  reason?: string | null;
}

export type PresenceState = "here" | "away";

/** The message of each MESSAGE_ID. */
export type WebSocketMessageMap = {
  "chat.message": ChatMessage;
  "order-updated": OrderUpdated;
  "presence": Presence;
  "tree": Tree;
};

export type WebSocketMessageId = keyof WebSocketMessageMap;

/** A message as it stands on the wire. */
export interface WebSocketMessage<K extends WebSocketMessageId> {
  MESSAGE_ID: K;
  message: WebSocketMessageMap[K];
}

/** Any of them, to be told apart by MESSAGE_ID. */
export type AnyWebSocketMessage = { [K in WebSocketMessageId]: WebSocketMessage<K> }[WebSocketMessageId];
