/** The world of one schedule of a primitive: hosts with clients of their own, a server of many locks, and the works. */
import { LockClient } from '../../../lib/lease/client.ts';
import type { Lease } from '../../../lib/lease/lease.ts';
import { mulberry32 } from '../../support/mulberry32.ts';
import { Host, VirtualTime } from '../virtual-time.ts';
import type { Deed, Plan } from './plan.ts';
import { judgedStore, LocksServer, SwappingStore } from './server.ts';

/** The times of every lease. The hosts' clocks are off by less than half of `safetyMs`. */
export const TIMING = { leaseMs: 2_000, heartbeatMs: 600, safetyMs: 500 };
export const REQUEST_TIMEOUT_MS = 300;
const MOST_OFF_MS = 200;
/** No schedule lasts longer. */
const LIMIT_MS = 240_000;

/** A host, and the client of its process. */
export interface Player {
  readonly host: Host;
  readonly client: LockClient;
}

/** Work under a lease, from its beginning to its end. */
export interface Work {
  readonly player: Player;
  readonly lease: Pick<Lease, 'isHeld' | 'key'>;
  /** The works of a group exclude each other, up to the bound of `World.group`. */
  readonly group: string;
}

/** Does the deeds of hosts, and judges what comes of them. */
export interface Primitive {
  act(world: World, player: Player, deed: Deed): Promise<void>;
  /** Called when all deeds are over, and the network is healed. */
  end(world: World): Promise<void>;
  /** Called after every happening. Gives a fault. */
  look?(world: World): string | undefined;
}

export class World {
  readonly time = new VirtualTime();
  readonly server: LocksServer;
  readonly players: readonly Player[];
  fault: string | undefined;
  /** The works that were begun. */
  begun = 0;
  readonly trace: string[] | undefined;
  readonly #plan: Plan;
  readonly #works = new Set<Work>();
  readonly #mostOf = new Map<string, number>();
  /** The deeds that are under way. */
  readonly #open = new Set<string>();

  constructor(plan: Plan, traced: boolean) {
    this.#plan = plan;
    this.trace = traced ? [] : undefined;
    this.server = new LocksServer(this.time, plan.fates);
    this.players = plan.hosts.map(({ permille, ratePpm }, index) =>
      this.newPlayer(`h${index + 1}`, Math.round((permille * MOST_OFF_MS) / 1_000), ratePpm),
    );
  }

  /** Tells whether the schedule kills, freezes, closes or cuts off a host. */
  get hasBlows(): boolean {
    return this.#plan.blows.length > 0;
  }

  newPlayer(name: string, offsetMs = 0, ratePpm = 0): Player {
    const host = new Host(this.time, name, { offsetMs, ratePpm, isDisciplined: false });
    const store = this.#plan.swaps ? new SwappingStore(this.server, host) : judgedStore(this.server, host);
    const onEvent = ({ type, key }: { type: string; key: string }) => this.note(`${name} is told ${type} of ${key}`);
    return { host, client: new LockClient({ ...TIMING, store, owner: name, clock: host, onEvent }) };
  }

  note(line: string): void {
    this.trace?.push(`${this.time.elapsed.toFixed(0).padStart(7)} ms  ${line}`);
  }

  found(fault: string): void {
    this.note(`FAULT ${fault}`);
    this.fault ??= fault;
  }

  /** Bounds the works of a group that may be under way at a time. Without a bound there is one. */
  bound(group: string, most: number): void {
    this.#mostOf.set(group, most);
  }

  /** Works for `ms`, or until the lease's signal aborts, as an obedient work does. */
  async work({ player, lease, group }: Work & { lease: Pick<Lease, 'signal'> }, ms: number): Promise<void> {
    const work: Work = { player, lease, group };
    this.note(`${player.host.name} begins to work on ${group}`);
    this.#works.add(work);
    this.begun++;
    this.look();
    await this.pause(player, ms, lease.signal);
    this.note(`${player.host.name} ends its work on ${group}`);
    this.#works.delete(work);
  }

  /** Lets time pass on a host, until `signal` aborts. */
  pause({ host }: Player, ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const timer = host.setTimeout(() => {
        signal?.removeEventListener('abort', stop);
        resolve();
      }, ms);
      const stop = () => {
        host.clearTimeout(timer);
        resolve();
      };
      signal?.addEventListener('abort', stop, { once: true });
      if (signal?.aborted) stop();
    });
  }

  /** Invariant 1: counts the works whose hosts run and believe in their leases. */
  look(): void {
    const believing = new Map<string, string[]>();
    for (const { player, lease, group } of this.#works) {
      if (!player.host.isRunning || !lease.isHeld()) continue;
      believing.set(group, [...(believing.get(group) ?? []), player.host.name]);
    }
    for (const [group, names] of believing) {
      const most = this.#mostOf.get(group) ?? 1;
      if (names.length > most) this.found(`1: ${names.join(', ')} work on ${group} at once, and at most ${most} may`);
    }
  }

  async play(primitive: Primitive): Promise<void> {
    const deeds = this.#plan.hosts.flatMap(({ deeds }, index) => {
      const player = this.players[index] as Player;
      return deeds.map((deed, at) => ({ player, deed, atMs: sumOf(deeds.slice(0, at + 1)) }));
    });
    for (const [number, { player, deed, atMs }] of deeds.entries()) {
      player.host.setTimeout(() => void this.#act(primitive, player, deed, `deed ${number + 1}`), atMs);
    }
    for (const blow of this.#plan.blows) {
      const player = this.players[blow.host % this.players.length] as Player;
      this.time.after(blow.atMs, () => this.#strike(player, blow.do, blow.forMs));
    }
    const look = () => {
      this.look();
      const fault = primitive.look?.(this);
      if (fault !== undefined) this.found(fault);
      return this.fault !== undefined;
    };
    await this.time.run(LIMIT_MS, look);
    for (const open of this.#open) this.found(`12: ${open} does not come to an end`);
    if (this.fault) return;
    this.server.heal();
    await this.time.pass(2 * TIMING.leaseMs);
    let isOver = false;
    void primitive.end(this).then(
      () => {
        isOver = true;
      },
      (error) => this.found(`the end fails: ${error?.stack}`),
    );
    await this.time.run(LIMIT_MS, () => look() || isOver);
    if (!isOver) this.found('12: the end does not come to an end');
    for (const { host, client } of this.players) {
      void client.close({ graceMs: 0 });
      await this.time.pass(20_000);
      if (!host.hasCrashed && host.timers > 0) this.found(`12: ${host.timers} timers are left on ${host.name}`);
    }
  }

  async #act(primitive: Primitive, player: Player, deed: Deed, name: string): Promise<void> {
    const { host } = player;
    const shown = `${name} of ${host.name}`;
    this.#open.add(shown);
    this.note(`${host.name} begins ${name} (${JSON.stringify(deed)})`);
    try {
      await primitive.act(this, player, deed);
    } catch (error) {
      const { name: kind, message, stack } = error as Error;
      if (/^Lock\w*Error$/.test(kind) || error === FAILED) this.note(`${host.name}: ${message}`);
      else this.found(`it throws ${stack}`);
    }
    this.#open.delete(shown);
  }

  #strike(player: Player, blow: string, forMs: number): void {
    const { host, client } = player;
    this.note(`${host.name} suffers ${blow} for ${forMs} ms`);
    if (blow === 'crash') {
      host.crash();
      for (const work of this.#works) if (work.player === player) this.#works.delete(work);
      for (const open of this.#open) if (open.endsWith(` of ${host.name}`)) this.#open.delete(open);
    }
    if (blow === 'freeze') host.freeze(forMs, { monotonicStands: false });
    if (blow === 'cutOff') host.cutOffUntil = this.time.now() + forMs;
    if (blow === 'close') host.whenRunning(() => void client.close({ graceMs: forMs }));
  }
}

/** The moment of the last of some deeds, each of which comes `atMs` after the deed before. */
const sumOf = (deeds: readonly Deed[]): number => deeds.reduce((sum, { atMs }) => sum + atMs, 0);

/** The error of work that fails. */
export const FAILED = new Error('The work fails.');

/** Runs a schedule of a primitive. Gives the first fault, if any, and with `traced` a line for everything that happened. */
export async function play(
  newPrimitive: () => Primitive,
  plan: Plan,
  traced = false,
): Promise<{ fault: string | undefined; trace: readonly string[]; works: number }> {
  const world = new World(plan, traced);
  const random = Math.random;
  Math.random = mulberry32(plan.seed);
  const unhandled = (reason: unknown) => world.found(`12: a rejection that nobody handles: ${reason}`);
  process.on('unhandledRejection', unhandled);
  try {
    await world.play(newPrimitive());
    // Node reports unhandled rejections between two turns of its loop.
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    Math.random = random;
    process.off('unhandledRejection', unhandled);
  }
  return { fault: world.fault, trace: world.trace ?? [], works: world.begun };
}
