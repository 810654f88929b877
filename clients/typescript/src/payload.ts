import { Code } from '@connectrpc/connect';
import { refusal } from './errors.js';

/** What can be sent: text, or bytes. */
export type Payload = string | Uint8Array;

/** The two fields of the wire, of which exactly one is set. */
export interface Body {
  message?: string;
  data?: Uint8Array;
  contentType?: string;
}

/** What the service takes in one call. A larger one would be cut off midway, and its connection with it. */
export const CALL_BYTES_MAX = 4 * 1024 * 1024;

function size(payload: Payload): number {
  // At most three bytes a unit: only what comes near the bound is looked at closely.
  const small = typeof payload === 'string' && payload.length * 3 <= CALL_BYTES_MAX;
  return typeof payload !== 'string' || small ? payload.length : new TextEncoder().encode(payload).length;
}

/** Refuses here what the service would refuse, or what cannot be told to it. */
function checkPayload(payload: Payload): void {
  if (typeof payload !== 'string' && !((payload as unknown) instanceof Uint8Array)) {
    throw unfit('message', `must be a string or a Uint8Array, not ${kind(payload)}`);
  }
  const bytes = size(payload);
  if (bytes > CALL_BYTES_MAX) {
    const message = `message: ${bytes} bytes are over the limit of ${CALL_BYTES_MAX} for one call`;
    throw refusal(message, Code.ResourceExhausted);
  }
}

function unfit(field: string, why: string): Error {
  return refusal(`${field}: ${why}`, Code.InvalidArgument, undefined, field);
}

function kind(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1);
}

/** Bytes as bytes, whatever their content type says. */
export function binary(data: Uint8Array, payload: Payload | undefined, contentType?: string): Body {
  if (payload) throw unfit('data', 'give it or message, not both');
  if (!((data as unknown) instanceof Uint8Array)) throw unfit('data', `must be a Uint8Array, not ${kind(data)}`);
  checkPayload(data);
  return { data, contentType };
}

/**
 * Bytes go out as a binary message, unless their content type says that they are text: clients of the
 * service that came before knew bytes only, and told text by its type.
 */
export function body(payload: Payload | undefined, contentType?: string): Body {
  if (payload !== undefined) checkPayload(payload);
  if (typeof payload === 'string') return { message: payload, contentType };
  if (payload === undefined) return { contentType };
  if (contentType !== undefined && /^(text\/|application\/json\b)/i.test(contentType)) {
    try {
      return { message: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(payload), contentType };
    } catch {
      // Not text after all.
    }
  }
  return { data: payload, contentType };
}
