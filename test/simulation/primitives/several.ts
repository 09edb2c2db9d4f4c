import type { Deed } from './plan.ts';
import { FAILED, type Player, type Primitive, REQUEST_TIMEOUT_MS, TIMING, type World } from './world.ts';

const KEYS = ['a', 'b', 'c', 'd'];

/** Several keys, all or none. Every call comes to an end, whoever else wants which keys, and all keys are free at the end. */
export class Several implements Primitive {
  async act(world: World, player: Player, { waitMs, workMs, pick, fails }: Deed): Promise<void> {
    // In the order in which the caller happens to name the keys.
    const wanted = KEYS.filter((_, index) => pick & (1 << index));
    const keys = pick & 16 ? wanted.reverse() : wanted;
    if (keys.length < 2) return;
    // A few callers wait without an end: then two that wait for each other would wait for ever.
    const patience = pick & 32 ? Infinity : waitMs;
    const leases = await player.client.acquireAll(keys, { waitMs: patience, requestTimeoutMs: REQUEST_TIMEOUT_MS });
    await Promise.all(keys.map((key) => world.work({ player, lease: leases.get(key), group: key }, workMs)));
    await leases.release();
    if (fails) throw FAILED;
  }

  async end(world: World): Promise<void> {
    const last = world.newPlayer('last');
    const leases = await last.client.acquireAll(KEYS, { waitMs: 2 * TIMING.leaseMs });
    await leases.release();
  }
}
