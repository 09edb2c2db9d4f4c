import { describe, expect, test } from '@jest/globals';
import { MemoryLockStore } from '../../lib/testing/memory.ts';
import { aboveTheStore } from './above-the-store.ts';
import { lockStoreContract } from './lock-store-contract.ts';

describe('MemoryLockStore', () => {
  lockStoreContract(() => new MemoryLockStore({ clock: Date }));
  aboveTheStore(() => new MemoryLockStore({ clock: Date }));

  test('gives no serverDate without a clock', async () => {
    const { serverDate } = await new MemoryLockStore().read('job');
    expect(serverDate).toBeUndefined();
  });

  test('refuses a misspelled option', () => {
    expect(() => new MemoryLockStore({ clok: Date } as object)).toThrow(
      "MemoryLockStore has no option 'clok'; did you mean 'clock'?",
    );
  });
});
