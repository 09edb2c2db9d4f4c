// Writes docs/api.md, and what docs/reference.md and docs/architecture.md take from the sources: `npm run api`. With an
// argument, into that folder.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from '../entries.ts';
import { extractPublicApi } from './extract.ts';
import { fillInInvariants } from './invariants.ts';
import { fillIn } from './reference.ts';

const docs = join(repository, 'docs');
const target = process.argv[2] ?? docs;
const { report, declarations } = extractPublicApi();
writeFileSync(join(target, 'api.md'), report);
const fill = (page: string, filled: (text: string) => string): void => {
  writeFileSync(join(target, page), filled(readFileSync(join(docs, page), 'utf8')));
};
fill('reference.md', (text) => fillIn(text, declarations));
fill('architecture.md', fillInInvariants);
