import { describe, expect, test } from '@jest/globals';
import { Watch } from '../../bin/serve/watch.ts';
import { LockClient } from '../../lib/index.ts';
import { FakeClock, MemoryLockStore } from '../../lib/testing.ts';
import { ScriptedStore } from '../support/scripted-store.ts';

describe('the looks at the store', () => {
  function watching(everyMs = 2_000) {
    const clock = new FakeClock();
    const store = new ScriptedStore(new MemoryLockStore({ clock }), clock);
    const locks = new LockClient({ store, clock });
    const watch = new Watch(locks, { prefix: '', everyMs, showsLockIds: false });
    const ask = (have = 0) => JSON.parse(watch.ask(have));
    /** Asks as browsers do, for a time. */
    const askFor = async (ms: number, browsers = 1) => {
      for (const end = clock.now() + ms; clock.now() < end; await clock.advance(500)) {
        for (let browser = 0; browser < browsers; browser++) ask();
      }
    };
    return { clock, store, locks, watch, ask, askFor };
  }

  test('serve all browsers at the same time', async () => {
    const { store, askFor } = watching();
    await askFor(11_000, 20);
    expect(store.count('list')).toBe(6);
  });

  test('end ten seconds after the last browser has gone, and begin with the next', async () => {
    const { clock, store, ask, askFor } = watching();
    expect(store.count('list')).toBe(0);
    await askFor(1_000);
    await clock.advance(600_000);
    const looks = store.count('list');
    expect(looks).toBeLessThanOrEqual(6);
    expect(clock.timers).toBe(0);
    expect(ask().ageMs).toBeGreaterThan(590_000);
    await clock.advance(1);
    expect(store.count('list')).toBe(looks + 1);
    expect(ask().ageMs).toBeLessThan(10);
  });

  test('become rarer if a look takes long', async () => {
    const { store, ask, askFor } = watching();
    store.script = (operation) => (operation === 'list' ? { do: 'delayAnswer', ms: 2_000 } : undefined);
    await askFor(60_000);
    expect(ask().everyMs).toBe(20_000);
    expect(store.count('list')).toBe(3);
    store.script = (operation) => (operation === 'list' ? { do: 'delayAnswer', ms: 4_900 } : undefined);
    await askFor(200_000);
    expect(ask().everyMs).toBe(49_000);
  });

  test('send the locks again only to a browser that has not got them', async () => {
    const { clock, ask } = watching();
    expect(ask()).not.toHaveProperty('picture');
    await clock.advance(1);
    const { version, picture } = ask();
    expect(picture).toEqual({ rows: [], isWhole: true, losses: [] });
    expect(ask(version)).not.toHaveProperty('picture');
    expect(ask(version - 1)).toHaveProperty('picture');
  });

  test('keep the last state when the store fails, say since when, and recover', async () => {
    const { clock, store, locks, ask, askFor } = watching();
    await locks.acquire('job');
    await askFor(1_000);
    store.plan({ do: 'fail', error: new Error('no such table'), operation: 'list', times: Infinity });
    await askFor(3_000);
    const { since } = ask().failure;
    await askFor(6_000);
    expect(ask()).toMatchObject({ failure: { since, message: expect.stringContaining('no such table') } });
    expect(ask().picture.rows).toMatchObject([{ key: 'job', state: 'held' }]);
    store.heal();
    await clock.advance(2_000);
    expect(ask()).not.toHaveProperty('failure');
  });

  test('read 20,000 locks at the most, and say that there are more', async () => {
    const { clock, store, ask } = watching();
    for (let index = 0; index <= 20_000; index++) {
      await store.inner.acquire({ key: `${index}`, lockId: 'x', owner: 'a', now: 1, until: 2, leaseMs: 1 });
    }
    ask();
    await clock.advance(1);
    const { isWhole, rows } = ask().picture;
    expect([isWhole, rows.length]).toEqual([false, 20_000]);
  });

  test("tell how long a lock has been held and stays closed, by the store's clock", async () => {
    const { clock, locks, ask, askFor } = watching();
    await locks.acquire('job', { leaseMs: 30_000 });
    await clock.advance(4_000);
    await askFor(500);
    const { rows } = ask().picture;
    expect(rows).toMatchObject([{ state: 'held', sinceMs: 4_000, opensInMs: 26_000, leaseMs: 30_000 }]);
  });
});
