// Writes docs/api.md and the tables of docs/reference.md from the sources, or into another folder: `npm run api`.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from '../entries.ts';
import { extractPublicApi } from './extract.ts';
import { fillIn } from './reference.ts';

const docs = join(repository, 'docs');
const target = process.argv[2] ?? docs;
const { report, declarations } = extractPublicApi();
writeFileSync(join(target, 'api.md'), report);
const reference = readFileSync(join(docs, 'reference.md'), 'utf8');
writeFileSync(join(target, 'reference.md'), fillIn(reference, declarations));
