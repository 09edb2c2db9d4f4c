/** The looks at the store, which all browsers share: a look at a table is a scan, and costs money. */
import type { Clock, LockClient } from '../../lib/index.ts';
import { pause } from '../../lib/lease/clock.ts';
import { Losses } from './losses.ts';
import { rowOf, type Seen, seen } from './seen.ts';

/** The looks end when no browser has asked for this long, in milliseconds. */
const IDLE_MS = 10_000;
/** A look that takes longer makes the looks rarer. */
const SLOW_MS = 1_000;
/** After a slow look, the pause is this many times as long as the look. */
const REST = 10;
const MOST_PAUSE_MS = 600_000;
/** The most locks that a look reads. A page of more helps nobody, and each lock takes memory here and in the browser. */
const MOST_LOCKS = 20_000;
/** The bounds of the pause after which a browser asks again. The longest is well below `IDLE_MS`. */
const ASK_MS = { first: 150, least: 250, most: 5_000 };

export interface WatchOptions {
  readonly prefix: string;
  /** Milliseconds from the end of one look to the begin of the next. */
  readonly everyMs: number;
  /** Shows the `lockId` of each grant to the browsers. */
  readonly showsLockIds: boolean;
}

export class Watch {
  readonly losses: Losses;
  readonly #locks: LockClient;
  readonly #clock: Clock;
  readonly #options: WatchOptions;
  readonly #closing = new AbortController();
  readonly #beganAt: number;
  #askedAt = -Infinity;
  #looking: Promise<void> | undefined;
  /** The moment at which the look under way began, or else the last look. Of the clock that is never set, as all moments here. */
  #lookBeganAt = -Infinity;
  #lookEndedAt = -Infinity;
  /** The end of the last look that the store answered, and the time that it took. */
  #seenAt = -Infinity;
  #tookMs = 0;
  #seen: ReadonlyMap<string, Seen> = new Map();
  #version = 0;
  /** The part of the answer that all browsers share, as JSON. */
  #picture = '';
  #failure: { readonly message: string; readonly since: number } | undefined;

  constructor(locks: LockClient, options: WatchOptions) {
    this.#locks = locks;
    this.#clock = locks.clock;
    this.#beganAt = this.#clock.now();
    this.losses = new Losses(this.#clock);
    this.#options = options;
  }

  /** Ends the looks. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#looking;
  }

  /**
   * Gives a browser the state of the locks, as JSON, and keeps the looks going.
   * @param have the version that the browser has. The answer leaves the locks out if there is no other version.
   */
  ask(have: number): string {
    const now = this.#clock.monotonic();
    this.#askedAt = now;
    if (!this.#closing.signal.aborted) this.#looking ??= this.#lookOn().finally(() => (this.#looking = undefined));
    const head = JSON.stringify({
      version: this.#version,
      beganAt: this.#beganAt,
      askInMs: this.#askInMs(now),
      everyMs: this.#pauseMs(),
      ...(this.#version > 0 && { ageMs: now - this.#seenAt, tookMs: this.#tookMs }),
      ...(this.#failure && { failure: this.#failure }),
    });
    return have === this.#version || this.#version === 0 ? head : `${head.slice(0, -1)},"picture":${this.#picture}}`;
  }

  get #isLooking(): boolean {
    return this.#lookBeganAt > this.#lookEndedAt;
  }

  #pauseMs(): number {
    const restMs = this.#tookMs > SLOW_MS ? Math.min(MOST_PAUSE_MS, REST * this.#tookMs) : 0;
    return Math.max(this.#options.everyMs, restMs);
  }

  /** The browser asks again shortly after the next look has probably ended. */
  #askInMs(now: number): number {
    if (this.#version === 0 && !this.#failure) return ASK_MS.first;
    const dueAt = this.#isLooking ? this.#lookBeganAt : this.#lookEndedAt + this.#pauseMs();
    const inMs = dueAt + this.#tookMs - now + 25;
    return Math.round(Math.min(ASK_MS.most, Math.max(ASK_MS.least, inMs)));
  }

  /** Looks at the store until no browser has asked for a while. */
  async #lookOn(): Promise<void> {
    const { signal } = this.#closing;
    try {
      for (;;) {
        // A page that is opened and closed again and again makes the looks no more frequent.
        const inMs = this.#lookEndedAt + this.#pauseMs() - this.#clock.monotonic();
        if (inMs > 0) await pause(this.#clock, inMs, signal);
        if (this.#clock.monotonic() - this.#askedAt > IDLE_MS) return;
        await this.#look(signal);
      }
    } catch {
      // The page was closed.
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    this.#lookBeganAt = this.#clock.monotonic();
    try {
      const locks = new Map<string, Seen>();
      let isWhole = true;
      for await (const state of this.#locks.list({ prefix: this.#options.prefix, signal })) {
        isWhole = locks.size < MOST_LOCKS;
        if (!isWhole) break;
        locks.set(state.key, seen(state, this.#clock));
      }
      this.#show(locks, isWhole);
      this.#failure = undefined;
    } catch (error) {
      signal.throwIfAborted();
      const message = error instanceof Error ? error.message : String(error);
      this.#failure = { message, since: this.#failure?.since ?? this.#clock.now() };
    } finally {
      this.#lookEndedAt = this.#clock.monotonic();
    }
  }

  #show(locks: ReadonlyMap<string, Seen>, isWhole: boolean): void {
    this.losses.learn(this.#seen, locks, isWhole);
    this.#seen = locks;
    this.#seenAt = this.#clock.monotonic();
    this.#tookMs = this.#seenAt - this.#lookBeganAt;
    const rows = Array.from(locks.values(), (lock) => rowOf(lock, this.#seenAt, this.#options.showsLockIds));
    this.#picture = JSON.stringify({ rows, isWhole, losses: this.losses.recent() });
    this.#version += 1;
  }
}
