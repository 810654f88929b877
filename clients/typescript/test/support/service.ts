import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { openSync, closeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { quietPort } from './ports.js';
import { atEnd } from './test.js';
import { within } from './wait.js';

/** Debug builds on a machine that compiles meanwhile. */
const START_MS = 60_000;
/** Longer than the service takes when it must end by force. */
const STOP_MS = 40_000;
const PORTS_TRIED = 5;

/** However this process ends, its services end with it. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** The real service, and where it listens. It is stopped when the test is over, at the latest. */
export class Service {
  http = '';
  grpc = '';
  admin = '';
  #process?: ChildProcess;
  #killed = false;

  private constructor(
    readonly folder: string,
    readonly flags: string[],
    readonly scheme: string,
    readonly command: 'serve' | 'demo',
  ) {}

  static start(...flags: string[]): Promise<Service> {
    const scheme = flags.includes('--tls-cert') ? 'https' : 'http';
    return Service.#start(['--egress-allow', '127.0.0.0/8', ...flags], scheme, 'serve');
  }

  /** With the demo's connections in it. */
  static demo(...flags: string[]): Promise<Service> {
    return Service.#start(flags, 'http', 'demo');
  }

  static async #start(flags: string[], scheme: string, command: 'serve' | 'demo'): Promise<Service> {
    const folder = await mkdtemp(join(tmpdir(), 'wsm-ts-'));
    const service = new Service(folder, flags, scheme, command);
    atEnd(() => service.stop());
    for (let tried = 1; ; tried += 1) {
      try {
        await service.#run(quietPort(), quietPort());
        return service;
      } catch (error) {
        if (tried === PORTS_TRIED || !/Address already in use/.test(String(error))) throw error;
      }
    }
  }

  get ws(): string {
    return this.http.replace(/^http/, 'ws');
  }

  async #run(http: number, grpc: number): Promise<void> {
    const binary = process.env.WSM_BIN;
    if (!binary) throw new Error('WSM_BIN: must name the binary of the service');
    const ports = ['--http-port', `${http}`, '--grpc-port', `${grpc}`, '--admin-port', '0'];
    const fixed = ['--shards', '2', '--backend', 'embedded', '--data-dir', join(this.folder, 'data')];
    const log = openSync(join(this.folder, 'log'), 'a');
    const started = spawn(binary, [this.command, ...ports, ...fixed, '--drain-lame-duck', '0s', ...this.flags], {
      stdio: ['ignore', 'pipe', log],
      env: { PATH: process.env.PATH },
    });
    closeSync(log);
    running.add(started);
    started.on('exit', () => running.delete(started));
    this.#process = started;
    this.#killed = false;
    const lines = createInterface({ input: started.stdout! });
    const first = Promise.race([once(lines, 'line'), once(started, 'exit')]);
    const line = String((await within(first, 'the service is ready', START_MS).catch((error) => this.#failed(error)))[0]);
    if (!line.startsWith('ready ')) await this.#failed(new Error(`no ready line but ${line}`));
    const said = new Map(line.split(' ').slice(1).map((pair) => pair.split('=') as [string, string]));
    this.http = `${this.scheme}://${said.get('http')}`;
    this.grpc = `${this.scheme}://${said.get('grpc')}`;
    this.admin = `http://${said.get('admin')}`;
  }

  async #failed(error: Error): Promise<never> {
    this.kill();
    throw new Error(`${error.message}: ${await this.log()}`);
  }

  log(): Promise<string> {
    return readFile(join(this.folder, 'log'), 'utf8');
  }

  /** Without a word, as a machine that fails. */
  kill(): void {
    this.#killed = true;
    this.#process?.kill('SIGKILL');
  }

  /** Orderly: it must end by itself, and well. */
  async halt(): Promise<void> {
    const process = this.#process;
    if (!process || process.exitCode !== null || process.signalCode !== null) return;
    const ended = once(process, 'exit');
    if (!this.#killed) process.kill('SIGTERM');
    const [code] = (await within(ended, 'the service ends', STOP_MS).catch((error) => this.#failed(error))) as [number];
    if (code !== 0 && !this.#killed) throw new Error(`the service ended with ${code}: ${await this.log()}`);
  }

  /** Again, on the same ports and data. */
  async again(): Promise<void> {
    const port = (url: string) => Number(new URL(url).port);
    await this.#run(port(this.http), port(this.grpc));
  }

  async stop(): Promise<void> {
    try {
      await this.halt();
    } finally {
      await rm(this.folder, { recursive: true, force: true });
    }
  }
}
