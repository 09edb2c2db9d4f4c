import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, jest } from '@jest/globals';
import { FileLockStore } from '../../lib/file.ts';
import { aboveTheStore } from './above-the-store.ts';
import { changeContent, damagedRecords } from './damaged-records.ts';
import { lockStoreContract } from './lock-store-contract.ts';
import { sameAsMemory } from './same-as-memory.ts';

// On NFS, and on a busy machine, a request takes long.
jest.setTimeout(60_000);

describe('FileLockStore', () => {
  const directory = mkdtempSync(join(tmpdir(), 'leasehold-'));
  const folders = [directory];
  afterAll(() => {
    for (const folder of folders) rmSync(folder, { recursive: true });
  });
  const newStore = () => new FileLockStore({ directory });

  lockStoreContract(newStore, { dated: 'writes' });
  aboveTheStore(newStore);
  sameAsMemory(newStore, { runs: 40 });

  damagedRecords(() => {
    const folder = mkdtempSync(join(directory, '..', 'leasehold-'));
    folders.push(folder);
    const versions = (key: string) => readdirSync(join(folder, key)).sort();
    const raw = async (key: string) => readFileSync(join(folder, key, versions(key).at(-1) ?? ''), 'utf8');
    return {
      store: new FileLockStore({ directory: folder }),
      raw,
      async change(key, fields) {
        const next = String(Number(versions(key).at(-1)) + 1).padStart(16, '0');
        writeFileSync(join(folder, key, next), changeContent(await raw(key), fields));
      },
    };
  });
});
