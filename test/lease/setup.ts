import { expect, jest } from '@jest/globals';
import { LockClient, type LockClientOptions } from '../../lib/lease/client.ts';
import type { Clock } from '../../lib/lease/clock.ts';
import type { LockEvent } from '../../lib/lease/events.ts';
import type { Lease } from '../../lib/lease/lease.ts';
import { FakeClock } from '../../lib/testing/fake-clock.ts';
import { MemoryLockStore } from '../../lib/testing/memory.ts';
import { mulberry32 } from '../support/mulberry32.ts';
import { ScriptedStore } from '../support/scripted-store.ts';

/** The clock of one host. It follows the true time, with an offset. */
export class HostClock implements Clock {
  readonly #time: FakeClock;
  /** The milliseconds by which the wall clock is ahead of the true time. A test sets them to step the clock. */
  offsetMs: number;
  /** Disciplined, as on Lambda: the host writes moments by this clock before an answer has judged the clock. */
  readonly isDisciplined: boolean;
  #lateMs = 0;

  constructor(time: FakeClock, offsetMs = 0, isDisciplined = true) {
    this.#time = time;
    this.offsetMs = offsetMs;
    this.isDisciplined = isDisciplined;
  }

  now(): number {
    return this.#time.now() + this.offsetMs - this.#lateMs;
  }

  monotonic(): number {
    return this.#time.monotonic() - this.#lateMs;
  }

  /** Both clocks fall behind, as on a host that runs slow. */
  lag(ms: number): void {
    this.#lateMs += ms;
  }

  setTimeout(callback: () => void, ms: number): unknown {
    return this.#time.setTimeout(callback, ms);
  }

  clearTimeout(timer: unknown): void {
    this.#time.clearTimeout(timer);
  }
}

/** A process with a client and a clock of its own, and the events that it was told. */
interface Host {
  readonly client: LockClient;
  readonly clock: HostClock;
  readonly events: LockEvent[];
  /** The events of one type. */
  of<Type extends LockEvent['type']>(type: Type): Extract<LockEvent, { type: Type }>[];
}

export interface World {
  /** The true time. */
  readonly time: FakeClock;
  readonly memory: MemoryLockStore;
  /** Every client reaches `memory` through this store. */
  readonly store: ScriptedStore;
  /** Makes a host. Its clock is `ahead` milliseconds ahead, by default 0, and disciplined by default, as on Lambda. */
  host(options?: Partial<LockClientOptions> & { ahead?: number; isDisciplined?: boolean }): Host;
}

/**
 * A store, and hosts that share the store. With `dated`, each answer carries the store's clock, which shows the true
 * time.
 */
export function world({ dated = false, start }: { dated?: boolean; start?: number } = {}): World {
  const time = new FakeClock(start);
  const memory = new MemoryLockStore(dated ? { clock: time } : {});
  const store = new ScriptedStore(memory, time);
  let hosts = 0;
  return {
    time,
    memory,
    store,
    host({ ahead = 0, isDisciplined = true, ...options } = {}) {
      const events: LockEvent[] = [];
      const clock = new HostClock(time, ahead, isDisciplined);
      const onEvent = (event: LockEvent) => events.push(event);
      const client = new LockClient({ store, clock, owner: `host-${++hosts}`, onEvent, ...options });
      const of = (type: LockEvent['type']) => events.filter((event) => event.type === type) as never;
      return { client, clock, events, of };
    },
  };
}

/** The state of a promise. A test reads the state when it likes, and no rejection stays unhandled. */
export interface Outcome<T> {
  readonly settled: boolean;
  readonly value: T | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: whatever was thrown.
  readonly error: any;
}

export function outcomeOf<T>(promise: Promise<T>): Outcome<T> {
  const outcome = { settled: false, value: undefined as T | undefined, error: undefined as unknown };
  promise.then(
    (value) => Object.assign(outcome, { settled: true, value }),
    (error) => Object.assign(outcome, { settled: true, error }),
  );
  return outcome;
}

/** Advances the time by single milliseconds, `mostMs` at most, until a promise has settled. */
export async function settle<T>(time: FakeClock, promise: Promise<T>, mostMs = 60_000): Promise<T> {
  const outcome = outcomeOf(promise);
  await time.advance(0);
  for (let ms = 0; !outcome.settled && ms < mostMs; ms++) await time.advance(1);
  expect(outcome.settled).toBe(true);
  return promise;
}

/** The lease of an attempt that must succeed. */
export async function taken(attempt: Promise<Lease | null>): Promise<Lease> {
  const lease = await attempt;
  if (lease === null) throw new Error('The lock was busy.');
  return lease;
}

/** Makes `Math.random` follow the seed until the mocks are restored. Returns a second seeded generator. */
export function seededRandom(seed: number): () => number {
  jest.spyOn(Math, 'random').mockImplementation(mulberry32(seed));
  return mulberry32(-seed);
}

/** Makes each heartbeat come `heartbeatMs` after the last request, and no sooner, until the mocks are restored. */
export function punctual(): void {
  jest.spyOn(Math, 'random').mockReturnValue(0);
}

/** A controller whose signal counts its abort listeners. */
export function watchedSignal(): { controller: AbortController; listeners(): number } {
  const controller = new AbortController();
  const { signal } = controller;
  const listening = new Set<unknown>();
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = ((type: string, listener: never, options: never) => {
    if (type === 'abort') listening.add(listener);
    add(type, listener, options);
  }) as typeof signal.addEventListener;
  signal.removeEventListener = ((type: string, listener: never, options: never) => {
    if (type === 'abort') listening.delete(listener);
    remove(type, listener, options);
  }) as typeof signal.removeEventListener;
  return { controller, listeners: () => listening.size };
}
