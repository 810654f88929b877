// Generates src/gen and test/gen from proto files: node scripts/generate.mjs [FOLDER]
//
// Without a folder in place, where the files are kept under version control; the test of the generated
// files gives another one and compares.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const bin = join(root, 'node_modules', '.bin');
const out = resolve(process.argv[2] ?? root);
const WIDTH = 120;

// The peers' own protocol lies in the same folder and is none of a client's business.
const service = ['websocketmanager.proto', 'rooms.proto'].flatMap((file) => ['--path', join('../../proto', file)]);
generate(['../../proto', ...service], 'src/gen', true);
generate(['proto'], 'src/gen', false);
// The first fields alone: what every client's cases of old clients and old servers are made from.
generate(['../proto'], 'test/gen', true);

function generate(input, folder, clean) {
  const plugin = {
    local: join(bin, 'protoc-gen-es'),
    out: join(out, folder),
    opt: ['target=ts', 'import_extension=js'],
  };
  const template = JSON.stringify({ version: 'v2', clean, plugins: [plugin] });
  execFileSync(join(bin, 'buf'), ['generate', ...input, '--template', template], { cwd: root, stdio: 'inherit' });
  for (const file of readdirSync(plugin.out, { recursive: true }).filter((name) => name.endsWith('.ts'))) {
    const path = join(plugin.out, file);
    writeFileSync(path, fold(readFileSync(path, 'utf8')));
  }
}

// The descriptor is one string of many thousand characters: in lines, editors and reviews can take it.
function fold(text) {
  return text.replace(/fileDesc\("([^"]+)"/g, (whole, base64) => {
    const lines = base64.match(new RegExp(`.{1,${WIDTH}}`, 'g'));
    return lines.length === 1 ? whole : `fileDesc(\n    ${lines.map((line) => `"${line}"`).join(' +\n    ')}`;
  });
}
