// Writes docs/api.md, and the parts of three other pages that come from the sources: `npm run api`. With an argument,
// writes into that folder, and the declarations too, for the tests.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from '../entries.ts';
import { fillInCounts } from './counts.ts';
import { extractPublicApi } from './extract.ts';
import { fillInInvariants } from './invariants.ts';
import { fillIn } from './reference.ts';

const docs = join(repository, 'docs');
const [, , folder] = process.argv;
const target = folder ?? docs;
const { report, declarations } = extractPublicApi();
writeFileSync(join(target, 'api.md'), report);
if (folder) writeFileSync(join(folder, 'declarations.json'), JSON.stringify(declarations));
const fill = async (page: string, filled: (text: string) => string | Promise<string>): Promise<void> => {
  writeFileSync(join(target, page), await filled(readFileSync(join(docs, page), 'utf8')));
};
await fill('reference.md', (text) => fillIn(text, declarations));
await fill('architecture.md', fillInInvariants);
await fill('reliability.md', fillInCounts);
