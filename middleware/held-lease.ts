import { AsyncLocalStorage } from 'node:async_hooks';
import { finished, Readable } from 'node:stream';
import type { Lease } from '../lib/lease/lease.ts';
import type { Leases } from '../lib/lease/leases.ts';
import type { LostReason } from '../lib/record/errors.ts';
import { type Body, bodyIn, readableOf, tellsItsEnd } from './body.ts';
import type { Remaining } from './remaining.ts';
import type { Held } from './request.ts';
import { hasFailures } from './sqs.ts';
import { warnIfReleased } from './warn-if-released.ts';

/** Marks a stream of ours that has closed while its body may still be produced. */
const untold = Symbol.for('leasehold.untold');

/** The lease of an invocation, or its leases of several keys, and the body that is still produced and sent under the lease. */
export class HeldLease implements Held {
  readonly lease: Lease | Leases;
  isUnused = true;
  hasSkipped = false;
  readonly #remaining: Remaining;
  readonly #onLost: 'throw' | 'ignore';
  readonly #isBatch: boolean;
  #abandoned = false;
  /** The response's body, as its reader gets it. */
  #sent: Readable | undefined;
  /** The stopping of a body that did not reach its end. */
  #stopping: Promise<void> | undefined;

  /** @param isBatch whether the event is a batch of SQS messages, to which a response may be an array of settled results. */
  constructor(lease: Lease | Leases, remaining: Remaining, onLost: 'throw' | 'ignore', isBatch: boolean) {
    this.lease = lease;
    this.#remaining = remaining;
    this.#onLost = onLost;
    this.#isBatch = isBatch;
  }

  /**
   * Ends the lease of a handler that succeeded.
   *
   * - The response has a stream: the lease ends when the reader has taken the whole stream.
   * - Another middleware has dropped the body of the handler's own response: nothing is done, and the body is stopped.
   * - A record of the batch failed: nothing is done, for the record comes again.
   * - The handler was abandoned: nothing is left to end.
   * @throws LockLostError if the lease was lost, as `onLost` says.
   */
  async succeed(response: unknown, failed: ReadonlySet<string>, handled?: unknown): Promise<unknown> {
    if (this.#abandoned) return response;
    const body = bodyIn(response);
    if (body) return body === response ? this.#send(body) : { ...(response as object), body: this.#send(body) };
    const dropped = bodyIn(handled);
    if (dropped && !(dropped as Readable).readableEnded) await this.release(response, handled);
    else await this.#finish(failed.size === 0 && !hasFailures(response, this.#isBatch));
    return response;
  }

  async release(response?: unknown, handled?: unknown): Promise<void> {
    if (this.#abandoned) return;
    const body = bodyIn(handled);
    if (this.#sent) {
      const sending = bodyIn(response);
      // The reader of our stream ends the lease, also if a middleware sends a stream made of ours, compressed, say.
      if (sending && (sending === this.#sent || this.#sent.readableFlowing !== null)) return;
      this.#sent.destroy();
      await this.#stopping;
    } else if (body) await this.#stop(() => readableOf(body), tellsItsEnd(body));
    else await this.#end();
  }

  abandon(reason: LostReason): void {
    this.#abandoned = true;
    this.lease.abandon(reason);
  }

  async #end(done = false): Promise<void> {
    const withinMs = this.#remaining.releaseMs;
    await (this.isUnused ? this.lease.discard(withinMs) : this.lease.releasePart(done, withinMs));
  }

  async #finish(succeeded = true): Promise<void> {
    warnIfReleased(this.lease);
    await this.#end(succeeded && !this.hasSkipped);
    if (this.#onLost === 'throw' && this.lease.loss) throw this.lease.loss;
  }

  /** Makes a stream of the same parts that ends only after the lease has ended, and fails if the lease was lost. */
  #send(body: Body): Readable {
    const source = readableOf(body);
    const parts = source[Symbol.asyncIterator]();
    const isTold = tellsItsEnd(body);
    // A reader asks for a part from elsewhere. The work that makes the part runs under the locks of the handler.
    const asInHandler = AsyncLocalStorage.snapshot();
    let isOver = false;
    const sent: Readable = new Readable({
      objectMode: true,
      // With a buffer, the stream would ask for a part before its reader has taken the part before.
      highWaterMark: 0,
      read: () => {
        const next = async () => {
          const { done, value } = await asInHandler(() => parts.next());
          if (sent.destroyed) return;
          if (!done) return void sent.push(value);
          isOver = true;
          await this.#finish();
          sent.push(null);
        };
        next().catch((error) => sent.destroy(error));
      },
      destroy: (error, callback) => {
        const stopping = isOver ? this.#end() : this.#stop(() => source, isTold);
        this.#stopping = stopping.then(() => {
          // Another lock may send this stream. Then nobody can tell that lock either when the work ends.
          if (this.lease.loss?.reason === 'abandoned') Object.assign(sent, { [untold]: true });
          callback(error);
        });
      },
    });
    // Nobody may be reading yet, and an error that nobody listens to ends the process.
    sent.on('error', () => {});
    finished(source, { writable: false }, (error) => {
      if (error && !sent.destroyed) sent.destroy(error);
    });
    this.#sent = sent;
    return sent;
  }

  /** Invariant 9: the lease is released when nothing produces the body any more, and abandoned where nobody can tell. */
  async #stop(body: () => Readable, isTold: boolean): Promise<void> {
    try {
      const source = body();
      // A body that failed by itself is closed too, and its work may still go on.
      const isEnded = source.readableEnded || (source.closed && isTold);
      const closed = isEnded || new Promise((resolve) => source.once('close', resolve));
      // A body may fail as it closes, and an error that nobody listens to ends the process.
      source.on('error', () => {});
      source.destroy();
      const isOver = (isEnded || isTold) && (await this.#remaining.settles(closed));
      if (isOver && !(untold in source)) return await this.#end();
    } catch {
      // Nobody can tell either when a body ends that cannot be destroyed.
    }
    this.lease.abandon('abandoned');
  }
}
