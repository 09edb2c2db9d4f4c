/** Runs one schedule: the real `lib/lease` over the real conditions, with a virtual clock, in one thread. */
import { LockClient } from '../../lib/lease/client.ts';
import type { Lease, LeaseHandle } from '../../lib/lease/lease.ts';
import type { AcquireOptions } from '../../lib/lease/options.ts';
import type { LockRecord } from '../../lib/record/record.ts';
import type { LockStore } from '../../lib/record/store.ts';
import { mulberry32 } from '../support/mulberry32.ts';
import { Server, Wire } from './network.ts';
import { ObjectsWire } from './objects.ts';
import {
  type Blow,
  type ClockError,
  type Deed,
  HAND_OFF_MS,
  HOLD_AT_LEAST_MS,
  HOLD_AT_MOST_MS,
  HOUR_MS,
  LONG_REQUEST_TIMEOUT_MS,
  MINUTE_MS,
  REMAINING_MS,
  REQUEST_TIMEOUT_MS,
  retentionMs,
  type Schedule,
  TIMINGS,
} from './schedule.ts';
import { Host, VirtualTime } from './virtual-time.ts';
import { Watch } from './watch.ts';

/** A limit that no schedule reaches, unless a clock is an hour off. */
const LIMIT_MS = 300_000;
/** Background work ends by then: three sendings, each within its time-out, and the pauses between them. */
const BACKGROUND_MS = 20_000;
/** The most that two clocks drift apart while a schedule runs. */
const DRIFT_MS = 50;

/** The world of one schedule. */
interface Stage {
  readonly time: VirtualTime;
  readonly server: Server;
  readonly watch: Watch;
  readonly schedule: Schedule;
  /** The handles that hosts left for each other, with the once tokens of their leases. */
  readonly handles: { readonly handle: LeaseHandle; readonly once: string | undefined }[];
}

/** Makes the store of a host. Each host is a process of its own. */
const storeOf = ({ schedule, server }: Stage, host: Host, relayS?: number): LockStore =>
  schedule.swaps ? new ObjectsWire(host, server, relayS) : new Wire(host, server, relayS);

/** Plays the deeds of one host. */
class Player {
  readonly host: Host;
  readonly client: LockClient;
  readonly #stage: Stage;
  #lease: Lease | undefined;
  #once: string | undefined;
  #acquisitions = 0;
  #owner = '';
  #calledAt = 0;
  #closing: Promise<void> | undefined;
  #graceMs: number | undefined;
  /** True if all deeds are done and the client is closed. */
  done = false;

  constructor(stage: Stage, host: Host, relayS: number | undefined) {
    this.#stage = stage;
    this.host = host;
    this.client = new LockClient({
      ...TIMINGS[stage.schedule.timing],
      store: storeOf(stage, host, relayS),
      clock: host,
      onEvent: (event) => stage.watch.event(host, this.#owner, event),
    });
  }

  async play(deeds: readonly Deed[]): Promise<void> {
    const { watch } = this.#stage;
    for (const deed of deeds) {
      await this.#pause(deed.afterMs);
      watch.note(`${this.host.name} does ${deed.do}${deed.with === 'plain' ? '' : ` (${deed.with})`}`);
      // A deed may reject with an error of the library or with the cancellation. Any other error is a fault of the code.
      await this.#do(deed).catch((error) => {
        if (!/^Lock\w*Error$/.test(error?.name) && error !== CANCELLED) watch.found(`it throws ${error?.stack}`);
      });
    }
    await this.close();
    // A grant that is discarded in the background may outlast the time that the close was given.
    if (this.#graceMs !== undefined) await this.#pause(BACKGROUND_MS);
    if (this.host.timers > 0) watch.found(`12: ${this.host.timers} timers are left on ${this.host.name}`);
    this.done = true;
  }

  /** Closes the client. The deeds go on, as work goes on that does not listen to its signal. */
  close(graceMs?: number): Promise<void> {
    if (this.#closing === undefined) {
      this.#graceMs = graceMs;
      this.#closing = this.client.close({ graceMs });
    }
    return this.#closing;
  }

  async #do(deed: Deed): Promise<unknown> {
    const { watch, handles } = this.#stage;
    const lease = this.#lease;
    switch (deed.do) {
      case 'try':
        return this.#hold(deed, await this.client.tryAcquire('job', this.#options(deed)), onceOf(deed));
      case 'wait':
        return this.#hold(
          deed,
          await this.client.acquire('job', { ...this.#options(deed), waitMs: deed.forMs }),
          onceOf(deed),
        );
      case 'cancelWait': {
        const { signal, cancel } = this.#cancelAfter(deed.forMs);
        const options = { ...this.#options(deed), signal, waitMs: 10_000 };
        return this.#hold(deed, await this.client.acquire('job', options).finally(cancel), onceOf(deed));
      }
      case 'renew':
        return lease?.renew();
      case 'release':
      case 'finish':
        watch.end(lease);
        return lease?.release({ done: deed.do === 'finish' });
      case 'handOff': {
        const handle = await lease?.handOff({ leaseMs: HAND_OFF_MS });
        watch.end(lease);
        return handle && handles.push({ handle, once: this.#once });
      }
      case 'resume': {
        const last = handles.at(-1);
        if (last === undefined) return;
        const { once, holdAtLeastMs, ...options } = this.#options(deed);
        return this.#hold(deed, await this.client.resume(last.handle, options), last.once);
      }
      case 'commit': {
        if (lease === undefined) return;
        const data = watch.nextCommit();
        await lease.commit(data);
        return watch.committed(data, lease);
      }
      case 'force': {
        const seen = await this.client.inspect('job');
        return seen?.lockId && this.client.forceRelease('job', { lockId: seen.lockId });
      }
      case 'look':
        return this.#look();
    }
  }

  #hold(deed: Deed, lease: Lease | null, once: string | undefined): void {
    if (lease === null) return;
    this.#lease = lease;
    this.#once = once;
    const ends = { holdAtMost: this.host.now() + HOLD_AT_MOST_MS, invocation: this.#calledAt + REMAINING_MS };
    const holdsAtLeast = deed.with === 'holdAtLeast' && deed.do !== 'resume';
    this.#stage.watch.add(this.host, lease, { once, endsAt: ends[deed.with as keyof typeof ends], holdsAtLeast });
  }

  async #look(): Promise<void> {
    const { watch, server, time, schedule } = this.#stage;
    const state = (await this.client.inspectMany(['job', 'another'])).get('job');
    if (state === undefined) return;
    if (!server.stood(state as LockRecord)) watch.found('a look shows what never stood');
    const leftMs = state.expiresAt - time.now();
    // A right clock may be off by less than `safetyMs`.
    if (
      !schedule.dated &&
      state.held !== (state.lockId !== undefined && leftMs > 0) &&
      Math.abs(leftMs) > timingOf(schedule.timing).safetyMs
    ) {
      watch.found(`a look calls the lock ${state.held ? 'held' : 'open'}`);
    }
  }

  #options(deed: Deed): AcquireOptions {
    // Each acquisition has a name of its own. So the watch can see a busy event that names its own acquisition.
    this.#owner = `${this.host.name}#${++this.#acquisitions}`;
    this.#calledAt = this.host.now();
    return {
      owner: this.#owner,
      requestTimeoutMs: this.#stage.schedule.patient ? LONG_REQUEST_TIMEOUT_MS : REQUEST_TIMEOUT_MS,
      ...(deed.with === 'once' && { once: onceOf(deed) as string }),
      ...(deed.with === 'holdAtLeast' && { holdAtLeastMs: HOLD_AT_LEAST_MS }),
      ...(deed.with === 'holdAtMost' && { holdAtMostMs: HOLD_AT_MOST_MS }),
      ...(deed.with === 'invocation' && { remainingMs: () => REMAINING_MS }),
    };
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.host.setTimeout(resolve, ms));
  }

  #cancelAfter(ms: number): { signal: AbortSignal; cancel: () => void } {
    const controller = new AbortController();
    const timer = this.host.setTimeout(() => controller.abort(CANCELLED), ms);
    return { signal: controller.signal, cancel: () => this.host.clearTimeout(timer) };
  }
}

const onceOf = (deed: Deed): string | undefined => (deed.with === 'once' ? String(deed.forMs % 5) : undefined);

const CANCELLED = new Error('cancelled');

/**
 * The milliseconds by which a host's clock is ahead. The bound is:
 * - with dated answers and a `safetyMs` of 2,000 or more, 3 seconds and the hours of the schedule;
 * - otherwise, or with a relay that writes wrong dates, less than half of `safetyMs`. With such a relay, either the dates
 *   or the host's clock must be right.
 */
function offsetOf({ timing, dated }: Schedule, { permille, hours }: ClockError, relayS = 0): number {
  const { safetyMs } = timingOf(timing);
  const isAnyDated = dated && relayS === 0;
  const mostMs = isAnyDated && safetyMs >= 2_000 ? 3_000 : Math.min(safetyMs, 2_000) / 2 - DRIFT_MS;
  return Math.round((permille * mostMs) / 1_000) + (isAnyDated ? hours * HOUR_MS : 0);
}

const timingOf = (timing: number) => TIMINGS[timing] as (typeof TIMINGS)[number];

function strike({ time, server, watch, schedule }: Stage, players: readonly Player[], blow: Blow): void {
  const index = blow.host % players.length;
  const player = players[index] as Player;
  const { host } = player;
  time.after(blow.atMs, () => {
    watch.note(`${host.name} suffers ${blow.do} for ${blow.forMs} ms`);
    switch (blow.do) {
      case 'crash':
        return host.crash();
      case 'cutOff':
        host.cutOffUntil = time.now() + blow.forMs;
        return;
      case 'freeze':
      case 'freezeStill':
        watch.disturbed.add(host);
        if (blow.do === 'freezeStill') watch.stood.add(host);
        return host.freeze(blow.forMs, { monotonicStands: blow.do === 'freezeStill' });
      case 'setClock':
        watch.disturbed.add(host);
        watch.set.add(host);
        host.offsetMs = offsetOf(schedule, blow.clock, schedule.hosts[index]?.relayS);
        return;
      case 'close':
        host.whenRunning(() => void player.close(blow.forMs % 2 ? blow.forMs : undefined));
        return;
      case 'sweep':
        return server.sweep(blow.forMs);
    }
  });
}

/**
 * Expects that a new host can take the lock when the schedule is over: within a minute, however wrong the clocks were.
 * It takes longer behind a relay. A host that cannot tell its own clock from the relay's writes by the later clock, and
 * compares by the earlier clock.
 */
async function expectLiveness(stage: Stage): Promise<void> {
  const { time, server, watch, schedule } = stage;
  server.heal();
  if (schedule.dated) {
    const isRelayed = schedule.hosts.some(({ relayS }) => relayS !== undefined);
    // Some schedules that failed once have disciplined clocks that are hours off.
    const isFarOff = schedule.lambda && schedule.hosts.some(({ clock }) => clock.hours !== 0);
    await time.pass(isFarOff ? HOUR_MS : isRelayed ? 11 * MINUTE_MS : MINUTE_MS);
  }
  await expectFree(stage);
  if (!schedule.dated || watch.fault) return;
  // In this time TTL may delete the record. The token of a new record comes from the clock of the next host.
  await time.pass(HOUR_MS + retentionMs(schedule));
  await expectFree(stage);
}

async function expectFree(stage: Stage): Promise<void> {
  const { time, watch, schedule } = stage;
  const { clock, relayS } = schedule.hosts[0] ?? { clock: { permille: 0, hours: 0 } };
  const offsetMs = offsetOf(schedule, clock, relayS);
  const host = new Host(time, 'last', { offsetMs, ratePpm: 0, isDisciplined: schedule.lambda ?? false });
  const timing = timingOf(schedule.timing);
  const client = new LockClient({ ...timing, store: storeOf(stage, host), clock: host });
  const waitMs = Math.max(timing.leaseMs, HAND_OFF_MS) + 2 * timing.safetyMs + 100;
  let lease: Lease | undefined;
  void client.acquire('job', { waitMs, requestTimeoutMs: REQUEST_TIMEOUT_MS }).then(
    (granted) => {
      lease = granted;
    },
    (error) => watch.found(`a free lock cannot be taken: ${error.message}`),
  );
  await time.run(LIMIT_MS, () => lease !== undefined || watch.fault !== undefined);
  void lease?.release();
  await time.pass(1_000);
}

/** Runs a schedule. Returns the first fault, if any, and with `traced` a line for everything that happened. */
export async function run(schedule: Schedule, traced = false): Promise<{ fault?: string; trace?: readonly string[] }> {
  const time = new VirtualTime();
  const { safetyMs } = timingOf(schedule.timing);
  const watch = new Watch(time, safetyMs, { clocksAreRight: !schedule.dated, traced });
  const server = new Server(time, schedule, watch);
  const stage: Stage = { time, server, watch, schedule, handles: [] };
  const random = Math.random;
  Math.random = mulberry32(schedule.seed);
  const unhandled = (reason: unknown) => watch.found(`12: a rejection that nobody handles: ${reason}`);
  process.on('unhandledRejection', unhandled);
  try {
    const players = schedule.hosts.map(({ clock, ratePpm, relayS }, index) => {
      const offsetMs = offsetOf(schedule, clock, relayS);
      const host = new Host(time, `h${index + 1}`, { offsetMs, ratePpm, isDisciplined: schedule.lambda ?? false });
      return new Player(stage, host, schedule.dated ? relayS : undefined);
    });
    players.forEach((player, index) => {
      void player.play(schedule.hosts[index]?.deeds ?? []);
    });
    for (const blow of schedule.blows) strike(stage, players, blow);
    await time.run(LIMIT_MS, () => watch.look());
    for (const { host, done } of players) {
      if (!watch.fault && !done && !host.hasCrashed) watch.found(`12: ${host.name} does not come to an end`);
    }
    watch.lookBack();
    if (!watch.fault) await expectLiveness(stage);
    // Node reports unhandled rejections between two turns of its loop.
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    Math.random = random;
    process.off('unhandledRejection', unhandled);
  }
  return { ...(watch.fault !== undefined && { fault: watch.fault }), ...(watch.trace && { trace: watch.trace }) };
}
