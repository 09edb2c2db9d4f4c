import { show } from '../record/check.ts';

/** A second client of the same library, connected, that only subscribes. */
export interface RedisSubscriber {
  // biome-ignore lint/suspicious/noExplicitAny: each library has other arguments.
  subscribe(...args: any[]): Promise<unknown>;
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  unsubscribe(...args: any[]): Promise<unknown>;
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  on?(event: any, listener: any): unknown;
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  getPubSubMessage?(): Promise<any>;
}

/** The way to listen to one channel, over a subscriber of any library. */
interface Port {
  subscribe(channel: string): Promise<unknown>;
  unsubscribe(channel: string): Promise<unknown>;
}

/** A waiter asks again and again about one lock. So a channel stays subscribed after a waiter has left. */
const MOST_CHANNELS = 100;
/** GLIDE waits for this long until the server has confirmed a subscription. */
const CONFIRM_MS = 1_000;

/** Tells waiters that a lock's grant has ended. A message may be lost, and a waiter looks by itself all the same. */
export class Releases {
  readonly #subscriber: RedisSubscriber;
  /** The waiters of each channel that is subscribed, the channel that was waited for last at the end. */
  readonly #channels = new Map<string, Set<Waiter>>();
  /** Made at the first wait: a store whose locks nobody waits for listens to nothing. */
  #port: Port | undefined;

  /** @throws TypeError that says which clients are accepted. */
  constructor(subscriber: RedisSubscriber) {
    const isOne = typeof subscriber?.subscribe === 'function' && typeof subscriber.unsubscribe === 'function';
    if (!isOne) {
      throw new TypeError(
        `subscriber must be a second connected client of the same library as client, but it is ${show(subscriber)}.`,
      );
    }
    this.#subscriber = subscriber;
  }

  /** Resolves at the next message of a channel. Rejects if the channel cannot be subscribed, or when the signal aborts. */
  next(channel: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const waiters = this.#waitersOf(channel);
      const waiter = { resolve, reject };
      waiters.add(waiter);
      signal.addEventListener(
        'abort',
        () => {
          waiters.delete(waiter);
          reject(signal.reason);
        },
        { once: true },
      );
    });
  }

  #waitersOf(channel: string): Set<Waiter> {
    const waiters = this.#channels.get(channel) ?? new Set();
    const isNew = !this.#channels.delete(channel);
    this.#channels.set(channel, waiters);
    if (isNew) {
      this.#port ??= portOf(this.#subscriber, (heard) => this.#heard(heard));
      this.#port.subscribe(channel).catch((error) => {
        this.#channels.delete(channel);
        for (const { reject } of waiters) reject(error);
      });
      this.#dropIdle();
    }
    return waiters;
  }

  #heard(channel: string): void {
    const waiters = this.#channels.get(channel);
    for (const { resolve } of waiters ?? []) resolve();
    waiters?.clear();
  }

  /** Ends the subscriptions that nobody waits by, the oldest first, if there are many. */
  #dropIdle(): void {
    for (const [channel, waiters] of this.#channels) {
      if (this.#channels.size <= MOST_CHANNELS) return;
      if (waiters.size > 0) continue;
      this.#channels.delete(channel);
      this.#port?.unsubscribe(channel).catch(() => {});
    }
  }
}

interface Waiter {
  resolve(): void;
  reject(reason: unknown): void;
}

function portOf(subscriber: RedisSubscriber, heard: (channel: string) => void): Port {
  const nextMessage = subscriber.getPubSubMessage?.bind(subscriber);
  if (nextMessage) {
    void pull(nextMessage, heard);
    return {
      subscribe: (channel) => subscriber.subscribe([channel], CONFIRM_MS),
      unsubscribe: (channel) => subscriber.unsubscribe([channel], CONFIRM_MS),
    };
  }
  // ioredis tells all its listeners of every channel, and node-redis each listener of its own channel.
  if ('sendCommand' in subscriber && 'call' in subscriber) {
    subscriber.on?.('message', heard);
    return subscriber;
  }
  const listener = (_message: unknown, channel: string) => heard(channel);
  return {
    subscribe: (channel) => subscriber.subscribe(channel, listener),
    unsubscribe: (channel) => subscriber.unsubscribe(channel, listener),
  };
}

/** Takes GLIDE's messages one after another, until the client is closed. */
async function pull(next: () => Promise<{ channel: unknown }>, heard: (channel: string) => void): Promise<void> {
  try {
    for (;;) heard(String((await next()).channel));
  } catch {
    // The waiters look by themselves.
  }
}
