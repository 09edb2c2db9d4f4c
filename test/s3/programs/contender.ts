/**
 * A process that takes one lock several times. It marks its time inside by a file that only one process at a time can make, and
 * leaves its token to the next holder. It prints a line for each grant, for a holder that it met inside, and for a token that
 * has not grown.
 *
 *     node contender.ts <place> <folder> <grants>
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LockClient } from '../../../lib/index.ts';
import { S3LockStore } from '../../../lib/s3.ts';
import { clientOf, type S3Place } from '../questions.ts';

const [place = '', folder = '', grants] = process.argv.slice(2);
const { prefix, ...where }: S3Place & { prefix?: string } = JSON.parse(place);
const store = new S3LockStore({ bucket: where.bucket, prefix, client: clientOf(where) });
const locks = new LockClient({ store, leaseMs: 4_000 });
const inside = join(folder, 'inside');
const last = join(folder, 'last');
const say = (line: object) => console.log(JSON.stringify(line));

for (let n = 0; n < Number(grants); n++) {
  const lease = await acquired();
  try {
    writeFileSync(inside, '', { flag: 'wx' });
  } catch {
    say({ overlap: lease.fencingToken });
  }
  const before = existsSync(last) ? Number(readFileSync(last, 'utf8')) : 0;
  if (before >= lease.fencingToken) say({ notGrown: lease.fencingToken, before });
  writeFileSync(last, String(lease.fencingToken));
  await sleep(1);
  if (lease.isHeld()) rmSync(inside, { force: true });
  else say({ lost: lease.fencingToken });
  say({ token: lease.fencingToken });
  await lease.release();
}

/** Takes the lock, however long the server is down. */
async function acquired() {
  for (;;) {
    try {
      return await locks.acquire('fight', { waitMs: 30_000 });
    } catch (error) {
      if (!(error as { transient?: boolean }).transient) throw error;
      await sleep(20);
    }
  }
}
