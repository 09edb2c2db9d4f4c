import type { Deed } from './plan.ts';
import { FAILED, type Player, type Primitive, REQUEST_TIMEOUT_MS, TIMING, type World } from './world.ts';

const KEY = 'job';

/** Many waiters of each process for one key. Every waiter gets an answer in its time, and the lock is free at the end. */
export class Line implements Primitive {
  async act(world: World, player: Player, deed: Deed): Promise<void> {
    // A process has up to four waiters that come at the same moment.
    const waiters = Array.from({ length: 1 + (deed.pick % 4) }, () => this.#wait(world, player, deed));
    const outcomes = await Promise.allSettled(waiters);
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  async #wait(world: World, player: Player, { waitMs, workMs, fails }: Deed): Promise<void> {
    const { client } = player;
    const lease = await client.acquire(KEY, { waitMs, requestTimeoutMs: REQUEST_TIMEOUT_MS });
    await world.work({ player, lease, group: KEY }, workMs);
    await lease.release();
    if (fails) throw FAILED;
  }

  async end(world: World): Promise<void> {
    const last = world.newPlayer('last');
    const lease = await last.client.acquire(KEY, { waitMs: 2 * TIMING.leaseMs });
    await lease.release();
  }
}
