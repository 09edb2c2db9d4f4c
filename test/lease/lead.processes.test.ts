import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { CandidateProcess } from '../../bench/lib/candidates.ts';
import { FileLockStore } from '../../lib/file.ts';
import { LockClient } from '../../lib/index.ts';

// A busy machine needs more time than Jest's default.
jest.setTimeout(60_000);

const LEASE_MS = 2_000;
let directory: string;
let candidates: CandidateProcess[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'lead-'));
  candidates = [];
});
afterEach(() => {
  for (const candidate of candidates) candidate.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

function start(): CandidateProcess {
  const candidate = new CandidateProcess(directory, LEASE_MS);
  candidates.push(candidate);
  return candidate;
}

test('after a SIGTERM the standby leads within a second, and never before the work of the first has ended', async () => {
  const first = start();
  await first.when('begins');
  const second = start();
  await second.when('standsBy');
  const from = first.kill('SIGTERM');
  const begun = await second.when('begins');
  expect(begun - from).toBeLessThan(1_000);
  expect(begun).toBeGreaterThanOrEqual(await first.when('ends'));
});

test('after a SIGKILL the standby leads at the expiry', async () => {
  const first = start();
  await first.when('begins');
  const second = start();
  await second.when('standsBy');
  first.kill('SIGKILL');
  const locks = new LockClient({ store: new FileLockStore({ directory }) });
  const expiresAt = (await locks.inspect('leader'))?.expiresAt as number;
  const begun = await second.when('begins');
  expect(begun).toBeGreaterThanOrEqual(expiresAt);
  expect(begun - expiresAt).toBeLessThan(500);
});
