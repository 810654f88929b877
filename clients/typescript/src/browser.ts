/** For browsers, and wherever there is `fetch`: gRPC-Web or Connect at the HTTP port (5001 by default). */
import type { Transport } from '@connectrpc/connect';
import { createConnectTransport, createGrpcWebTransport } from '@connectrpc/connect-web';
import { BaseClient, sentWithEach, type ClientOptions } from './client.js';
import { httpUrl } from './url.js';

export * from './common.js';

export interface WebSocketManagerClientOptions extends ClientOptions {
  /** How calls go: `grpc-web` (default), or `connect`, of which followed calls still go as gRPC-Web. */
  protocol?: 'grpc-web' | 'connect';
  /** Connect's requests as JSON, which is easier to read in a browser's tools. */
  json?: boolean;
  /** In place of the platform's. */
  fetch?: typeof globalThis.fetch;
}

export function createTransport(options: WebSocketManagerClientOptions): Transport {
  const { protocol = 'grpc-web', json = false, fetch } = options;
  if (protocol !== 'grpc-web' && protocol !== 'connect') {
    throw new TypeError(`protocol: must be grpc-web or connect here, not ${String(protocol)}; grpc is for Node`);
  }
  const shared = { baseUrl: httpUrl(options.url), interceptors: sentWithEach(options), fetch };
  const web = createGrpcWebTransport(shared);
  if (protocol === 'grpc-web') return web;
  const connect = createConnectTransport({ ...shared, useBinaryFormat: !json });
  // The service speaks Connect's calls with one answer only.
  return { unary: connect.unary.bind(connect), stream: web.stream.bind(web) };
}

export class WebSocketManagerClient extends BaseClient {
  constructor(options: WebSocketManagerClientOptions) {
    super(options, options.protocol ?? 'grpc-web', createTransport(options));
  }
}
