import assert from 'node:assert/strict';
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { Service } from './support/service.js';
import { atEnd, before, test } from './support/test.js';
import { Upstream } from './support/upstream.js';

const ROOT = new URL('../../', import.meta.url).pathname;
/** Of the room client, bundled and minified. */
const ROOMS_BYTES_MAX = 4000;
/** Of one command, which this process stands still for. */
const COMMAND = { timeout: 60_000, killSignal: 'SIGKILL' } as const;

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'wsm-ts-package-'));
  atEnd(() => rmSync(folder, { recursive: true, force: true }));
});

async function bundled(contents: string, resolveDir: string) {
  return build({
    stdin: { contents, resolveDir },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    metafile: true,
    write: false,
    logLevel: 'silent',
  });
}

test('the room client is small and needs no other module', async (t) => {
  const made = await bundled("export { RoomClient } from '@virtufin/websocketmanager/rooms'", ROOT);
  const bytes = made.outputFiles[0]!.contents.length;
  t.diagnostic(`${bytes} bytes minified`);
  assert.ok(bytes <= ROOMS_BYTES_MAX, `${bytes} bytes are more than ${ROOMS_BYTES_MAX}`);
  const inputs = Object.keys(made.metafile.inputs).filter((path) => path !== '<stdin>');
  assert.deepEqual(inputs.map((path) => path.split('dist/')[1]), ['rooms.js']);
});

test('the generated files are those of the proto files', () => {
  execFileSync(process.execPath, [join(ROOT, 'scripts/generate.mjs'), folder], { ...COMMAND, stdio: 'pipe' });
  for (const gen of ['src/gen', 'test/gen']) {
    const files = (root: string) =>
      (readdirSync(join(root, gen), { recursive: true }) as string[]).filter((file) => file.endsWith('.ts')).sort();
    assert.deepEqual(files(folder), files(ROOT));
    for (const file of files(ROOT)) {
      const [kept, made] = [ROOT, folder].map((root) => readFileSync(join(root!, gen, file), 'utf8'));
      assert.ok(kept === made, `${gen}/${file}: run npm run generate`);
    }
  }
});

test('the package works where it is installed from its archive', async () => {
  const packed = execFileSync('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], { ...COMMAND, cwd: ROOT });
  const [{ filename, files }] = JSON.parse(packed.toString()) as [{ filename: string; files: { path: string }[] }];
  const paths = files.map(({ path }) => path);
  for (const needed of ['dist/node.js', 'dist/node.d.ts', 'dist/browser.js', 'dist/rooms.js', 'README.md']) {
    assert.ok(paths.includes(needed), `${needed} is not in the archive`);
  }
  assert.ok(!paths.some((path) => /^(test|build|examples|node_modules)\//.test(path)), paths.join());
  writeFileSync(join(folder, 'package.json'), '{"name": "user", "private": true, "type": "module"}');
  // From what npm has already, so that the test needs no network; else from the registry.
  const install = ['install', '--prefer-offline', '--fetch-retries=1', '--fetch-timeout=20000', '--no-audit', '--no-fund', '--no-save', join(folder, filename)];
  const installed = spawnSync('npm', install, { ...COMMAND, cwd: folder, encoding: 'utf8' });
  assert.equal(installed.status, 0, `${installed.error ?? ''} ${installed.stderr}`);
  assert.ok(!existsSync(join(folder, 'node_modules/playwright-core')), 'only what is needed at run time');

  const [service, upstream] = [await Service.start(), await Upstream.start()];
  const program = `
    import { createClient } from '@connectrpc/connect';
    import { createGrpcTransport } from '@connectrpc/connect-node';
    import { WebSocketManager, WebSocketManagerClient, file_websocketmanager, SendRequestSchema } from '@virtufin/websocketmanager';
    import { WebSocketManager as generated } from '@virtufin/websocketmanager/gen/websocketmanager_pb';
    const [url, upstream] = process.argv.slice(2);
    // As in Connect's own documentation.
    const plain = createClient(generated, createGrpcTransport({ baseUrl: url }));
    const { id } = await plain.connect({ url: upstream });
    const client = new WebSocketManagerClient({ url });
    const { response } = await client.send(id, 'hello');
    console.log([response, generated === WebSocketManager, file_websocketmanager.proto.package, SendRequestSchema.typeName].join());
  `;
  writeFileSync(join(folder, 'main.mjs'), program);
  // Nobody closes anything: the process ends by itself all the same.
  const ran = await run('main.mjs', service.grpc, upstream.url);
  assert.equal(ran.trim(), 'hello,true,virtufin,virtufin.SendRequest');

  checkTypes();
  const pages = "import { WebSocketManagerClient } from '@virtufin/websocketmanager'; console.log(WebSocketManagerClient)";
  const made = await bundled(pages, folder);
  assert.ok(!/node:http2|createGrpcTransport/.test(made.outputFiles[0]!.text), 'nothing of Node is in a bundle for browsers');
});

/** As programs see its types, by both ways in which compilers find them. */
function checkTypes(): void {
  const program = `
    import { WebSocketManagerClient, ConnectionStatus } from '@virtufin/websocketmanager';
    import { SendRequestSchema } from '@virtufin/websocketmanager/gen/websocketmanager_pb';
    import { RoomClient } from '@virtufin/websocketmanager/rooms';
    const client = new WebSocketManagerClient({ url: 'http://localhost' });
    export const open: Promise<boolean> = client.connect('ws://x/').then(({ status }) => status === ConnectionStatus.CONNECTED);
    export const name: string = SendRequestSchema.typeName;
    new RoomClient<{ chat: { text: string } }>('http://localhost').join('a').on('chat', ({ text }) => text.length);
  `;
  writeFileSync(join(folder, 'main.ts'), program);
  const ways = [['nodenext', 'nodenext'], ['esnext', 'bundler']] as const;
  for (const [module, resolution] of ways) {
    const how = ['--module', module, '--moduleResolution', resolution, '--target', 'es2022', '--strict', '--noEmit'];
    // As a program for Node has them.
    how.push('--types', 'node', '--typeRoots', join(ROOT, 'node_modules/@types'));
    const done = spawnSync(join(ROOT, 'node_modules/.bin/tsc'), [...how, 'main.ts'], { ...COMMAND, cwd: folder, encoding: 'utf8' });
    assert.equal(done.status, 0, `${done.error ?? ''} ${done.stdout}`);
  }
}

/** In a process of its own, while this one goes on answering. */
function run(...parameters: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, parameters, { cwd: folder, timeout: COMMAND.timeout }, (error, out, err) =>
      error ? reject(new Error(`${error.message}\n${out}\n${err}`)) : resolve(out),
    );
  });
}
