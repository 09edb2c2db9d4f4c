import { show } from '../record/check.ts';

/** A second client of the same library, connected, that only subscribes. */
export interface RedisSubscriber {
  /** Subscribes to channels. */
  // biome-ignore lint/suspicious/noExplicitAny: each library has other arguments.
  subscribe(...args: any[]): Promise<unknown>;
  /** Ends the subscriptions of channels. */
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  unsubscribe(...args: any[]): Promise<unknown>;
  /** Listens to the messages, with ioredis and iovalkey. */
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  on?(event: any, listener: any): unknown;
  /** Gives the next message, with GLIDE. */
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
/**
 * The most waiters of a process that a message wakes, those that wait longest. One of them gets the lock, and the other waits
 * if the first gave up just then. The rest would ask the server for nothing. They look by themselves.
 */
const MOST_WOKEN = 2;
/** GLIDE waits for this long until the server has confirmed a subscription. */
const CONFIRM_MS = 1_000;

/** Tells waiters that a lock's grant has ended. A message may be lost, and a waiter looks by itself all the same. */
export class Releases {
  readonly #subscriber: RedisSubscriber;
  /** The waiters of each channel that is subscribed, the channel that was waited for last at the end. */
  readonly #channels = new Map<string, Channel>();
  /** Made at the first wait: a store whose locks nobody waits for listens to nothing. */
  #port: Port | undefined;

  private constructor(subscriber: RedisSubscriber) {
    const isOne = typeof subscriber?.subscribe === 'function' && typeof subscriber.unsubscribe === 'function';
    if (!isOne) {
      throw new TypeError(
        `subscriber must be a second connected client of the same library as client, but it is ${show(subscriber)}.`,
      );
    }
    this.#subscriber = subscriber;
  }

  /**
   * Gives the one `Releases` of a subscriber. Stores that share the subscriber share its listener and its subscriptions, so
   * no store ends a subscription that another store waits by.
   * @throws TypeError that says which clients are accepted.
   */
  static of(subscriber: RedisSubscriber): Releases {
    const known = ofSubscriber.get(subscriber) ?? new Releases(subscriber);
    ofSubscriber.set(subscriber, known);
    return known;
  }

  /**
   * Resolves at the next message of a channel, or at once if a message came since the last wait: a waiter that looks at the
   * lock hears nothing meanwhile. Rejects if the channel cannot be subscribed, or when the signal aborts.
   */
  next(name: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const channel = this.#subscribed(name);
      if (channel.isMissed) {
        channel.isMissed = false;
        resolve();
        return;
      }
      const waiter = { resolve, reject };
      channel.waiters.add(waiter);
      const giveUp = () => {
        channel.waiters.delete(waiter);
        reject(signal.reason);
      };
      signal.addEventListener('abort', giveUp, { once: true });
    });
  }

  #subscribed(name: string): Channel {
    const channel = this.#channels.get(name) ?? { waiters: new Set(), isMissed: false };
    const isNew = !this.#channels.delete(name);
    this.#channels.set(name, channel);
    if (isNew) {
      this.#port ??= portOf(this.#subscriber, (heard) => this.#heard(heard));
      this.#port.subscribe(name).catch((error) => {
        this.#channels.delete(name);
        for (const { reject } of channel.waiters) reject(error);
      });
      this.#dropIdle();
    }
    return channel;
  }

  #heard(name: string): void {
    const channel = this.#channels.get(name);
    if (channel === undefined) return;
    channel.isMissed = channel.waiters.size === 0;
    for (const waiter of [...channel.waiters].slice(0, MOST_WOKEN)) {
      channel.waiters.delete(waiter);
      waiter.resolve();
    }
  }

  /** Ends the subscriptions that nobody waits by, the oldest first, if there are many. */
  #dropIdle(): void {
    for (const [name, { waiters }] of this.#channels) {
      if (this.#channels.size <= MOST_CHANNELS) return;
      if (waiters.size > 0) continue;
      this.#channels.delete(name);
      this.#port?.unsubscribe(name).catch(() => {});
    }
  }
}

const ofSubscriber = new WeakMap<RedisSubscriber, Releases>();

interface Channel {
  readonly waiters: Set<Waiter>;
  /** A message came, and nobody waited just then. */
  isMissed: boolean;
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
