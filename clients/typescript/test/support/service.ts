import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { openSync, closeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { within } from './wait.js';

/** The real service, and where it listens. */
export class Service {
  http = '';
  grpc = '';
  admin = '';
  #process?: ChildProcess;

  private constructor(
    readonly folder: string,
    readonly flags: string[],
    readonly scheme: string,
    readonly command: 'serve' | 'demo',
  ) {}

  static async start(...flags: string[]): Promise<Service> {
    const folder = await mkdtemp(join(tmpdir(), 'wsm-ts-'));
    const scheme = flags.includes('--tls-cert') ? 'https' : 'http';
    const service = new Service(folder, ['--egress-allow', '127.0.0.0/8', ...flags], scheme, 'serve');
    await service.#run('0', '0');
    return service;
  }

  /** With the demo's connections in it. */
  static async demo(...flags: string[]): Promise<Service> {
    const folder = await mkdtemp(join(tmpdir(), 'wsm-ts-'));
    const service = new Service(folder, flags, 'http', 'demo');
    await service.#run('0', '0');
    return service;
  }

  get ws(): string {
    return this.http.replace(/^http/, 'ws');
  }

  async #run(http: string, grpc: string): Promise<void> {
    const binary = process.env.WSM_BIN;
    if (!binary) throw new Error('WSM_BIN: must name the binary of the service');
    const ports = ['--http-port', http, '--grpc-port', grpc, '--admin-port', '0'];
    const fixed = ['--shards', '2', '--backend', 'embedded', '--data-dir', join(this.folder, 'data')];
    const log = openSync(join(this.folder, 'log'), 'a');
    const started = spawn(binary, [this.command, ...ports, ...fixed, '--drain-lame-duck', '0s', ...this.flags], {
      stdio: ['ignore', 'pipe', log],
      env: { PATH: process.env.PATH },
    });
    closeSync(log);
    this.#process = started;
    const lines = createInterface({ input: started.stdout! });
    const first = await within(Promise.race([once(lines, 'line'), once(started, 'exit')]), 'the service is ready');
    const line = String(first[0]);
    if (!line.startsWith('ready ')) throw new Error(`no ready line: ${await this.log()}`);
    const said = new Map(line.split(' ').slice(1).map((pair) => pair.split('=') as [string, string]));
    this.http = `${this.scheme}://${said.get('http')}`;
    this.grpc = `${this.scheme}://${said.get('grpc')}`;
    this.admin = `http://${said.get('admin')}`;
  }

  log(): Promise<string> {
    return readFile(join(this.folder, 'log'), 'utf8');
  }

  /** Without a word, as a machine that fails. */
  kill(): void {
    this.#process?.kill('SIGKILL');
  }

  async halt(): Promise<void> {
    const process = this.#process;
    if (!process || process.exitCode !== null || process.signalCode !== null || process.killed) return;
    const ended = once(process, 'exit');
    process.kill('SIGTERM');
    const [code] = (await within(ended, 'the service ends')) as [number];
    if (code !== 0) throw new Error(`the service ended with ${code}: ${await this.log()}`);
  }

  /** Again, on the same ports and data. */
  async again(): Promise<void> {
    const port = (url: string) => new URL(url).port;
    await this.#run(port(this.http), port(this.grpc));
  }

  async stop(): Promise<void> {
    await this.halt();
    await rm(this.folder, { recursive: true, force: true });
  }

  async post(path: string, body: object): Promise<any> {
    const answer = await fetch(this.http + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }
}
