/** For Node: gRPC at the gRPC port (5002 by default); the HTTP port (5001) takes it too. */
import type { SecureContextOptions } from 'node:tls';
import type { Transport } from '@connectrpc/connect';
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
  Http2SessionManager,
} from '@connectrpc/connect-node';
import { BaseClient, sentWithEach, type ClientOptions } from './client.js';
import { SendStream, type SendStreamSettings } from './send-stream.js';
import { CALL_BYTES_MAX } from './payload.js';
import { httpUrl } from './url.js';

export * from './common.js';
export { SendStream, type SendStreamSettings } from './send-stream.js';

/** For https: URLs. */
export interface TlsOptions extends Pick<SecureContextOptions, 'ca' | 'cert' | 'key' | 'passphrase'> {
  /** The name to verify in place of the URL's host. */
  servername?: string;
}

export interface WebSocketManagerClientOptions extends ClientOptions {
  /** `grpc` (default); `grpc-web` and `connect` go over HTTP/1.1, through proxies that know nothing else. */
  protocol?: 'grpc' | 'grpc-web' | 'connect';
  tls?: TlsOptions;
}

interface Way {
  transport: Transport;
  close: (reason: Error) => void;
}

function way(options: WebSocketManagerClientOptions): Way {
  const { protocol = 'grpc', tls } = options;
  const baseUrl = httpUrl(options.url);
  const shared = { baseUrl, interceptors: sentWithEach(options), writeMaxBytes: CALL_BYTES_MAX };
  if (protocol === 'grpc') {
    // Pings find out that a service is gone without a word, but only while something is waited for.
    const sessionManager = new Http2SessionManager(baseUrl, { pingIntervalMs: 30_000, pingTimeoutMs: 10_000 }, tls);
    const transport = createGrpcTransport({ ...shared, sessionManager });
    return { transport, close: (reason) => abort(sessionManager, reason) };
  }
  if (protocol !== 'grpc-web' && protocol !== 'connect') {
    throw new TypeError(`protocol: must be grpc, grpc-web or connect, not ${String(protocol)}`);
  }
  const plain = { ...shared, httpVersion: '1.1' as const, nodeOptions: tls };
  const web = createGrpcWebTransport(plain);
  const close = () => {};
  if (protocol === 'grpc-web') return { transport: web, close };
  const connect = createConnectTransport(plain);
  // The service speaks Connect's calls with one answer only.
  return { transport: { unary: connect.unary.bind(connect), stream: web.stream.bind(web) }, close };
}

/**
 * Ends the connection. One that the service said goodbye on in the same moment reports that as an error
 * after the manager has let go of it, where nobody would hear it.
 */
function abort(manager: Http2SessionManager, reason: Error): void {
  const { s: state } = manager as unknown as { s?: { conn?: { on?: (what: string, handler: () => void) => void } } };
  state?.conn?.on?.('error', () => {});
  manager.abort(reason);
}

export class WebSocketManagerClient extends BaseClient {
  readonly #close: (reason: Error) => void;

  constructor(options: WebSocketManagerClientOptions) {
    const { transport, close } = way(options);
    super(options, options.protocol ?? 'grpc', transport);
    this.#close = close;
  }

  /** Opens a call for many Sends. It is not repeated: what waits when it breaks off fails. */
  sendStream(settings: SendStreamSettings = {}): SendStream {
    if (this.calls.protocol !== 'grpc') {
      throw new TypeError(`sendStream: needs gRPC over HTTP/2, not ${this.calls.protocol}; sendBatch works with it`);
    }
    return new SendStream(this.calls, settings, (requests, options) => this.grpc.sendStream(requests, options));
  }

  override close(): void {
    if (this.calls.closed) return;
    super.close();
    // The calls end with their signals first, and say why.
    setImmediate(() => this.#close(new Error('this client was closed')));
  }
}
