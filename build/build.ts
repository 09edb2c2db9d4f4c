/** Writes dist/, the files of the package that is published. docs/decisions/017 says why they are cut this way. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { refuseOldCompilers, writeDeclarations } from './declarations.ts';
import { repository } from './entries.ts';
import { copyPage, writeCommonJS, writeESModules, writeNotices } from './javascript.ts';

rmSync(join(repository, 'dist'), { recursive: true, force: true });
const outputs = await writeESModules();
await writeCommonJS(outputs);
copyPage(outputs);
writeNotices(outputs);
writeDeclarations();
refuseOldCompilers();
