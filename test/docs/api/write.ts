// `npm run api`: writes docs/api.md, and the parts of three other pages that come from the sources. With an argument,
// writes into that folder.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from '../entries.ts';
import { fillInCounts } from './counts.ts';
import { extractPublicApi } from './extract.ts';
import { fillInInvariants } from './invariants.ts';
import { fillIn } from './reference.ts';

const docs = join(repository, 'docs');
const target = process.argv[2] ?? docs;
const { report, declarations } = extractPublicApi();
writeFileSync(join(target, 'api.md'), report);
const fill = async (page: string, filled: (text: string) => string | Promise<string>): Promise<void> => {
  writeFileSync(join(target, page), await filled(readFileSync(join(docs, page), 'utf8')));
};
await fill('reference.md', (text) => fillIn(text, declarations));
await fill('architecture.md', fillInInvariants);
await fill('reliability.md', fillInCounts);
