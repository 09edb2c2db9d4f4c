/** V8 and some hosts of functions start processes from a snapshot. All processes of one snapshot share its memory. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { buildSync } from 'esbuild';

const lib = join(import.meta.dirname, '../../lib');
const objects = join(import.meta.dirname, '../swap/map-swap-store.ts');

/** This program takes a lock before the snapshot is made, so that every cache is filled. */
const program = `
import { startupSnapshot } from 'node:v8';
import { LockClient } from '${lib}/index.ts';
import { MemoryLockStore } from '${lib}/testing.ts';
import { MapSwapStore, Objects } from '${objects}';

const locks = new LockClient({ store: new MemoryLockStore() });
const objects = new Objects();
const swapped = new LockClient({ store: new MapSwapStore(objects) });
for (const client of [locks, swapped]) client.acquire('warm-up').then((lease) => lease.release());
startupSnapshot.setDeserializeMainFunction(async () => {
  const lease = await locks.acquire('job');
  const handle = await lease.handOff({ leaseMs: 1_000 });
  const resumed = await locks.resume(handle);
  await swapped.acquire('job');
  const { writeId } = JSON.parse(objects.get('job').text);
  console.log(JSON.stringify([lease.lockId, resumed.lockId, lease.owner, writeId]));
});
`;

test('two processes that start from one snapshot make different lockIds, owner names and ids of writes', () => {
  const folder = mkdtempSync(join(tmpdir(), 'leasehold-snapshot-'));
  try {
    const [entry, bundle, blob] = ['entry.mjs', 'bundle.cjs', 'snapshot.blob'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(entry, program);
    buildSync({ entryPoints: [entry], bundle: true, platform: 'node', outfile: bundle });
    const node = (...args: string[]) =>
      execFileSync(process.execPath, ['--snapshot-blob', blob, ...args], { encoding: 'utf8', stdio: 'pipe' });
    node('--build-snapshot', bundle);
    const said = [node(), node()].flatMap((line) => JSON.parse(line) as string[]);
    expect(said).toHaveLength(8);
    expect(new Set(said).size).toBe(8);
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 60_000);
