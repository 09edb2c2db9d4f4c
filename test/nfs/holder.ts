// A process that takes a lock: node test/nfs/holder.ts DIRECTORY KEY [until-lost]. It prints the moments of the grant and of the
// loss, in milliseconds since the epoch. It ends without a release: at once, or when it is told of the loss.

import { FileLockStore } from '../../lib/file.ts';
import { LockClient } from '../../lib/index.ts';

const [directory = '', key = ''] = process.argv.slice(2);
const say = (words: string) => console.log(`${key} ${words} at ${Date.now()}`);
const locks = new LockClient({ store: new FileLockStore({ directory }), leaseMs: 6_000 });
const lease = await locks.acquire(key, { waitMs: 60_000, holdAtMostMs: 60_000 });
say('is held');
lease.signal.addEventListener('abort', () => {
  say('is lost');
  process.exit();
});
if (process.argv[4] !== 'until-lost') process.exit();
// A lease keeps no process alive.
setInterval(() => {}, 1_000);
