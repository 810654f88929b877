/** What can be sent: text, or bytes. */
export type Payload = string | Uint8Array;

/** The two fields of the wire, of which exactly one is set. */
export interface Body {
  message?: string;
  data?: Uint8Array;
  contentType?: string;
}

/**
 * Bytes go out as a binary message, unless their content type says that they are text: clients of the
 * service that came before knew bytes only, and told text by its type.
 */
export function body(payload: Payload | undefined, contentType?: string): Body {
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
