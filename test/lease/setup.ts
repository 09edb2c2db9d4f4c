import { expect, jest } from '@jest/globals';
import { LockClient, type LockClientOptions } from '../../lib/lease/client.ts';
import type { Clock } from '../../lib/lease/clock.ts';
import type { LockEvent } from '../../lib/lease/events.ts';
import type { Lease } from '../../lib/lease/lease.ts';
import { FakeClock } from '../../lib/testing/fake-clock.ts';
import { MemoryLockStore } from '../../lib/testing/memory.ts';
import { mulberry32 } from '../support/mulberry32.ts';
import { ScriptedStore } from '../support/scripted-store.ts';

/** A host's clock, over the time that passes for everybody. */
export class HostClock implements Clock {
  readonly #time: FakeClock;
  /** By how much its wall clock is ahead of the true time. Set it to step the clock. */
  offsetMs: number;
  /** As on Lambda: no answer need judge it before a moment is written by it. */
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

  /** Both clocks fall behind, as those of a host that runs slow. */
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

/** A process with a client of its own: its clock, and what it was told. */
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
  /** Every client's way to `memory`. */
  readonly store: ScriptedStore;
  /** A host of its own; `ahead`: by how much its clock is; `isDisciplined`: default true, as on Lambda. */
  host(options?: Partial<LockClientOptions> & { ahead?: number; isDisciplined?: boolean }): Host;
}

/** A store, and hosts that share it. With `dated`, its answers carry its clock, which shows the true time. */
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

/** What a promise has come to, so that a test can look at it when it likes and no rejection is left alone. */
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

/** Lets time pass until a promise has settled, a millisecond at a time, for at most `mostMs`. */
export async function settle<T>(time: FakeClock, promise: Promise<T>, mostMs = 60_000): Promise<T> {
  const outcome = outcomeOf(promise);
  await time.advance(0);
  for (let ms = 0; !outcome.settled && ms < mostMs; ms++) await time.advance(1);
  expect(outcome.settled).toBe(true);
  return promise;
}

/** The lease, where there must be one. */
export async function taken(attempt: Promise<Lease | null>): Promise<Lease> {
  const lease = await attempt;
  if (lease === null) throw new Error('The lock was busy.');
  return lease;
}

/** Makes `Math.random` give what the seed says, until mocks are restored; and gives another such generator. */
export function seededRandom(seed: number): () => number {
  jest.spyOn(Math, 'random').mockImplementation(mulberry32(seed));
  return mulberry32(-seed);
}

/** The listeners that are on a signal now, counted by watching it from its birth. */
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
