import { isOwed } from '../../../lib/record/record.ts';
import type { Deed } from './plan.ts';
import { FAILED, type Player, type Primitive, REQUEST_TIMEOUT_MS, TIMING, type World } from './world.ts';

const KEY = 'sync';

/**
 * Invariant 15. Whoever was told that its event is covered has a run that began after the event and succeeded, or the record
 * says that a run is owed. At the end a run is made if one is owed: then every such event has a run.
 */
export class Coalesce implements Primitive {
  /** The number of the last event. */
  #events = 0;
  /** The events that runs which have succeeded have seen: all up to this one. */
  #seen = 0;
  /** The last event whose caller was told that it is covered. */
  #covered = 0;
  /** True once a caller may have left a run owed: it failed, or was told so. */
  #isExcused = false;

  async act(world: World, player: Player, deed: Deed): Promise<void> {
    try {
      await this.#act(world, player, deed);
    } catch (error) {
      this.#isExcused = true;
      throw error;
    }
  }

  async #act(world: World, player: Player, { workMs, fails }: Deed): Promise<void> {
    const event = ++this.#events;
    const { covered, runs, owed } = await player.client.coalesce(
      KEY,
      { requestTimeoutMs: REQUEST_TIMEOUT_MS },
      async (lease) => {
        const seen = this.#events;
        await world.work({ player, lease, group: KEY }, workMs);
        // A work that ignores the loss of its lease fails with its lease.
        if (fails) throw FAILED;
        if (lease.isHeld()) this.#seen = Math.max(this.#seen, seen);
      },
    );
    world.note(`event ${event} of ${player.host.name}: ${runs} runs, covered ${covered}, owed ${owed}`);
    if (owed) this.#isExcused = true;
    if (covered) this.#covered = Math.max(this.#covered, event);
    if (!covered && !owed && runs === 0) world.found(`event ${event} was neither run nor covered`);
    if (!covered && !owed && this.#seen < event) world.found(`event ${event} was said to have run, and has not`);
  }

  look({ server }: World): string | undefined {
    if (this.#covered <= this.#seen || isOwed(server.recordOf(KEY) ?? {})) return undefined;
    return `15: event ${this.#covered} was told to be covered, no run since has succeeded, and none is owed`;
  }

  async end(world: World): Promise<void> {
    if (this.#covered > this.#seen && !this.#isExcused && !world.hasBlows) {
      world.found(`15: event ${this.#covered} was told to be covered, nobody failed, and nobody has run for it`);
    }
    const last = world.newPlayer('last');
    await world.pause(last, TIMING.leaseMs);
    const seen = this.#events;
    const { owed } = await last.client.coalesce(KEY, { onlyIfOwed: true }, () => {
      this.#seen = seen;
    });
    if (owed || isOwed(world.server.recordOf(KEY) ?? {})) world.found('15: a run is owed after a run in peace');
    if (this.#covered > this.#seen) world.found(`15: event ${this.#covered} has no run at the end`);
  }
}
