// A process that takes one lock again and again: node test/file/fighter.ts DIRECTORY KEY GRANTS. It prints a line of JSON for
// each grant: the token, and the moments at which the work began and ended. It ends when its standard input ends.

import { setTimeout } from 'node:timers/promises';
import { FileLockStore } from '../../lib/file.ts';
import { LockClient } from '../../lib/index.ts';

const [directory = '', key = '', grants = '0'] = process.argv.slice(2);
process.stdin.on('end', () => process.exit()).resume();
const locks = new LockClient({ store: new FileLockStore({ directory }) });
for (let left = Number(grants); left > 0; ) {
  // A file server that is being restarted answers late.
  const lease = await locks.tryAcquire(key, { leaseMs: 30_000 }).catch((error) => {
    if (!error.transient) throw error;
    return null;
  });
  if (lease === null) {
    await setTimeout(1 + 4 * Math.random());
    continue;
  }
  const from = Date.now();
  await setTimeout(1);
  const to = Date.now();
  if (!lease.isHeld()) throw new Error(`The lease of token ${lease.fencingToken} ended under the work.`);
  console.log(JSON.stringify({ token: lease.fencingToken, from, to }));
  await lease.release();
  left--;
}
process.exit();
