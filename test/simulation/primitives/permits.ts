import type { Deed } from './plan.ts';
import { FAILED, type Player, type Primitive, REQUEST_TIMEOUT_MS, TIMING, type World } from './world.ts';

const KEY = 'pool';
const PERMITS = 3;

/**
 * At most three holders of a key at a time, and one in each slot. At the end all three permits can be taken: none is lost with
 * a holder that died.
 */
export class Permits implements Primitive {
  async act(world: World, player: Player, deed: Deed): Promise<void> {
    world.bound(KEY, PERMITS);
    // A process has up to four callers that come at the same moment.
    const callers = Array.from({ length: 1 + (deed.pick % 4) }, () => this.#call(world, player, deed));
    const outcomes = await Promise.allSettled(callers);
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  async #call(world: World, player: Player, { waitMs, workMs, fails }: Deed): Promise<void> {
    const { client } = player;
    const lease = await client.acquire(KEY, { permits: PERMITS, waitMs, requestTimeoutMs: REQUEST_TIMEOUT_MS });
    await Promise.all([
      world.work({ player, lease, group: KEY }, workMs),
      world.work({ player, lease, group: `${KEY}, slot ${lease.slot}` }, workMs),
    ]);
    await lease.release();
    if (fails) throw FAILED;
  }

  async end(world: World): Promise<void> {
    const slots = new Set<number>();
    for (let permit = 0; permit < PERMITS; permit++) {
      const last = world.newPlayer(`last${permit}`);
      const lease = await last.client.acquire(KEY, { permits: PERMITS, waitMs: 2 * TIMING.leaseMs });
      slots.add(lease.slot);
    }
    if (slots.size !== PERMITS) world.found(`three permits are in ${slots.size} slots`);
  }
}
