import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, jest } from '@jest/globals';
import { FileLockStore } from '../../lib/file.ts';
import { aboveTheStore } from './above-the-store.ts';
import { lockStoreContract } from './lock-store-contract.ts';
import { sameAsMemory } from './same-as-memory.ts';

// On NFS, and on a busy machine, a request takes long.
jest.setTimeout(60_000);

describe('FileLockStore', () => {
  const directory = mkdtempSync(join(tmpdir(), 'leasehold-'));
  afterAll(() => rmSync(directory, { recursive: true }));
  const newStore = () => new FileLockStore({ directory });

  lockStoreContract(newStore, { dated: 'writes' });
  aboveTheStore(newStore);
  sameAsMemory(newStore, { runs: 40 });
});
