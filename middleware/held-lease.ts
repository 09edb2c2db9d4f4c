import { finished, Readable } from 'node:stream';
import type { LostReason } from '../lib/lease/errors.ts';
import type { Lease } from '../lib/lease/lease.ts';
import type { Remaining } from './remaining.ts';

/** The lease of an invocation, and the body that is still produced and sent under the lease. */
export class HeldLease {
  readonly lease: Lease;
  readonly #remaining: Remaining;
  readonly #onLost: 'throw' | 'ignore';
  /** The response's body, as its reader gets it. */
  #sent: Readable | undefined;
  /** The stopping of a body that did not reach its end. */
  #stopping: Promise<void> | undefined;

  constructor(lease: Lease, remaining: Remaining, onLost: 'throw' | 'ignore' = 'throw') {
    this.lease = lease;
    this.#remaining = remaining;
    this.#onLost = onLost;
  }

  /**
   * Ends the lease of a handler that succeeded. Where it responds with a stream, the lease ends when the reader has taken
   * all of it.
   * @returns what to respond with.
   * @throws LockLostError when the lease was lost, as `onLost` says.
   */
  async finish(response: unknown): Promise<unknown> {
    if (isStream(response)) return this.#send(response);
    const { statusCode, body } = (response ?? {}) as { statusCode?: number; body?: unknown };
    if (statusCode && isStream(body)) return { ...(response as object), body: this.#send(body) };
    await this.#succeed();
    return response;
  }

  /**
   * Ends the lease of what did not succeed.
   * @param response the request's response. If that is our stream, its reader ends the lease.
   */
  async release(response?: unknown): Promise<void> {
    if (!this.#sent) await this.lease.release();
    else if (this.#sent !== response && this.#sent !== (response as { body?: unknown } | undefined)?.body) {
      this.#sent.destroy();
      await this.#stopping;
    }
  }

  /** Gives the lease up without releasing it: the signal aborts, and the lock opens at the expiry. */
  abandon(reason: LostReason): void {
    this.lease.abandon(reason);
  }

  async #succeed(): Promise<void> {
    await this.lease.release({ done: true });
    if (this.#onLost === 'throw') this.lease.signal.throwIfAborted();
  }

  /** The same stream, but it ends only when the lease has, and fails if the lease was lost. */
  #send(body: NodeJS.ReadableStream | ReadableStream): Readable {
    const isWeb = body instanceof ReadableStream;
    const source = isWeb ? Readable.fromWeb(body as never, { objectMode: true }) : (body as Readable);
    const parts = source[Symbol.asyncIterator]();
    // A Duplex is written to by somebody of whom its closing tells nothing, and so is a web stream.
    let isTold = !isWeb && !('write' in source);
    let isOver = false;
    const sent: Readable = new Readable({
      objectMode: true,
      // Then each part is asked for when the reader has taken the one before it.
      highWaterMark: 0,
      read: () => {
        const next = async () => {
          const { done, value } = await parts.next();
          if (sent.destroyed) return;
          if (!done) return void sent.push(value);
          isOver = true;
          await this.#succeed();
          sent.push(null);
        };
        next().catch((error) => sent.destroy(error));
      },
      destroy: (error, callback) => {
        this.#stopping = isOver ? this.lease.release().then(() => {}) : this.#stop(source, isTold);
        void this.#stopping.then(() => callback(error));
      },
    });
    // Nobody may be reading yet, and an error that nobody listens to ends the process.
    sent.on('error', () => {});
    finished(source, { writable: false }, (error) => {
      if (!error || sent.destroyed) return;
      // A web stream that fails by itself has no more to do.
      isTold ||= isWeb;
      sent.destroy(error);
    });
    this.#sent = sent;
    return sent;
  }

  /** Invariant 9: the lease is released when nothing produces the body any more, and abandoned where nobody can tell. */
  async #stop(source: Readable, isTold: boolean): Promise<void> {
    const closed = source.closed || new Promise((resolve) => source.once('close', resolve));
    try {
      source.destroy();
      if (isTold && (await this.#remaining.settles(closed))) return void (await this.lease.release());
    } catch {
      // Nor can anybody tell when a body ends that cannot be destroyed.
    }
    this.abandon('abandoned');
  }
}

/** Node's own or a web stream. */
const isStream = (value: unknown): value is NodeJS.ReadableStream | ReadableStream =>
  value instanceof ReadableStream || typeof (value as NodeJS.ReadableStream | undefined)?.pipe === 'function';
