/**
 * Workers in one process over one store, under a fake time that goes on while a test waits. The time is that of jest's fake
 * timers: works and callbacks wait by `setTimeout`, and an hour passes in a few steps from timer to timer.
 */
import { jest } from '@jest/globals';
import { LockClient, type LockClientOptions, type LockEvent } from '../../lib/index.ts';
import { systemClock } from '../../lib/lease/clock.ts';
import { MemoryLockStore } from '../../lib/testing.ts';
import { ScriptedStore } from '../support/scripted-store.ts';

export const ONCE = '2026-01-01T00:00:00Z';

export class World {
  readonly memory = new MemoryLockStore();
  readonly store = new ScriptedStore(this.memory, systemClock);
  readonly events: LockEvent[] = [];
  readonly #latencyMs: () => number;

  /** @param latencyMs gives the time that a request takes to the store, and its answer back. */
  constructor(latencyMs: () => number = () => 1) {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'], now: Date.parse(ONCE) });
    this.#latencyMs = latencyMs;
    this.store.script = () => ({ do: 'travel', there: this.#latencyMs(), back: this.#latencyMs() });
  }

  client(options: Partial<LockClientOptions> = {}): LockClient {
    return new LockClient({ store: this.store, onEvent: (event) => this.events.push(event), ...options });
  }

  /** Takes a lock for a holder that is dead: the lease is neither renewed nor released. */
  async holdFor(key: string, ms: number): Promise<void> {
    const now = Date.now();
    const lockId = `dead ${key}`;
    await this.memory.acquire({ key, lockId, owner: 'a dead worker', now, until: now + ms, leaseMs: ms });
  }

  /** Lets time go on until the promise is settled, and settles in the same way. */
  async until<Result>(promise: Promise<Result>): Promise<Result> {
    let isSettled = false;
    const settle = () => {
      isSettled = true;
    };
    promise.then(settle, settle);
    let idleTurns = 0;
    for (await turn(); !isSettled; await turn()) {
      idleTurns = jest.getTimerCount() > 0 ? 0 : idleTurns + 1;
      if (idleTurns > 100) throw new Error('The promise waits, and no timer is set that could end the wait.');
      if (idleTurns === 0) jest.advanceTimersToNextTimer();
    }
    return promise;
  }

  /** Lets time go by. */
  async pass(ms: number): Promise<void> {
    await this.until(sleep(ms));
  }

  /** The number of refused writes. */
  get refused(): number {
    return this.events.filter(({ type }) => type === 'busy' || type === 'done').length;
  }

  /** The number of records that were read. */
  get reads(): number {
    return this.store.requests.reduce((sum, { request }) => sum + (request.keys?.length ?? 0), 0);
  }
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export const names = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => `task/${String(i).padStart(6, '0')}`);

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
