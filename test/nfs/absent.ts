// Looks at a key, waits until another host has written the key, and reads the key again: node test/nfs/absent.ts DIRECTORY KEY. A
// client of NFS remembers for half a minute that a name was absent.

import { existsSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { FileLockStore } from '../../lib/file.ts';
import { LockClient } from '../../lib/index.ts';

const [directory = '', key = '', flag = ''] = process.argv.slice(2);
const locks = new LockClient({ store: new FileLockStore({ directory }) });
console.log(`before: ${(await locks.inspect(key))?.held}`);
console.log('looked');
// The flag lies on the machine's own disk.
while (!existsSync(flag)) await setTimeout(20);
console.log(`after: ${(await locks.inspect(key))?.held}`);
process.exit();
