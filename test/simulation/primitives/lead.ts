import type { Deed } from './plan.ts';
import { FAILED, type Player, type Primitive, TIMING, type World } from './world.ts';

const KEY = 'scheduler';

/**
 * One leader at a time, and one work at a time in each process. While a host is left that has not stopped, somebody leads
 * again, and at the end a new host leads.
 */
export class Lead implements Primitive {
  readonly #candidates = new Map<Player, { resign(): unknown; stop(): Promise<unknown> }>();
  readonly #working = new Set<Player>();

  async act(world: World, player: Player, { workMs, pick, fails }: Deed): Promise<void> {
    const candidate = this.#candidates.get(player);
    if (candidate !== undefined) {
      // Each later deed of a host resigns, stops or does nothing.
      if (pick % 4 === 0) await candidate.stop();
      if (pick % 4 === 1) candidate.resign();
      return;
    }
    const lead = player.client.lead(
      KEY,
      { graceMs: 1_000, restMs: 100, onTermEnd: () => {} },
      async (lease, signal) => {
        if (this.#working.has(player)) world.found(`two works in the process of ${player.host.name}`);
        this.#working.add(player);
        await world.work({ player, lease, group: KEY }, pick % 2 ? workMs : 60_000);
        // The work takes a moment to end after its signal.
        if (signal.aborted) await world.pause(player, pick);
        this.#working.delete(player);
        if (fails) throw FAILED;
      },
    );
    this.#candidates.set(player, lead);
    await world.pause(player, 5_000 + workMs);
    await lead.stop();
  }

  async end(world: World): Promise<void> {
    const last = world.newPlayer('last');
    const led = new AbortController();
    const lead = last.client.lead(KEY, () => led.abort());
    await world.pause(last, 2 * TIMING.leaseMs, led.signal);
    if (!led.signal.aborted) world.found('nobody leads');
    await lead.stop();
  }
}
