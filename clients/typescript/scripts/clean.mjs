// Removes folders that a build makes: node scripts/clean.mjs FOLDER...
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
for (const folder of process.argv.slice(2)) rmSync(join(root, folder), { recursive: true, force: true });
