import { finished, Readable } from 'node:stream';
import type { Lease } from '../lib/lease/lease.ts';
import { LockLostError, type LostReason } from '../lib/record/errors.ts';
import type { Remaining } from './remaining.ts';

/** The lease of an invocation, and the body that is still produced and sent under the lease. */
export class HeldLease {
  readonly lease: Lease;
  readonly #remaining: Remaining;
  readonly #onLost: 'throw' | 'ignore';
  readonly #isBatch: boolean;
  /** The response's body, as its reader gets it. */
  #sent: Readable | undefined;
  /** The stopping of a body that did not reach its end. */
  #stopping: Promise<void> | undefined;

  /** @param isBatch whether the event is a batch of SQS messages, to which a response may be an array of settled results. */
  constructor(lease: Lease, remaining: Remaining, onLost: 'throw' | 'ignore' = 'throw', isBatch = false) {
    this.lease = lease;
    this.#remaining = remaining;
    this.#onLost = onLost;
    this.#isBatch = isBatch;
  }

  /**
   * Ends the lease of a handler that succeeded. Where it responds with a stream, the lease ends when the reader has taken
   * all of it. A batch of which a record failed is not done: the record comes again.
   * @param isPartial whether a record is known to have failed, whatever the response says.
   * @param handled the handler's own response, if it is known. If another middleware has dropped its body, nothing is done,
   *   and the body is stopped.
   * @returns what to respond with.
   * @throws LockLostError when the lease was lost, as `onLost` says.
   */
  async succeed(response: unknown, isPartial = false, handled?: unknown): Promise<unknown> {
    const body = bodyIn(response);
    if (body) return body === response ? this.#send(body) : { ...(response as object), body: this.#send(body) };
    const dropped = bodyIn(handled);
    if (dropped && !(dropped as Readable).readableEnded) await this.release(response, handled);
    else await this.#done(!isPartial && !this.#hasFailures(response));
    return response;
  }

  /**
   * Ends the lease of what did not succeed.
   * @param response the request's response. If that is our stream, or a stream made of ours, its reader ends the lease.
   * @param handled the handler's own response, whose body may still be produced.
   */
  async release(response?: unknown, handled?: unknown): Promise<void> {
    const body = bodyIn(handled);
    if (this.#sent) {
      const sending = bodyIn(response);
      // A middleware may send what it makes of our stream, as one that compresses does.
      if (sending && (sending === this.#sent || this.#sent.readableFlowing !== null)) return;
      this.#sent.destroy();
      await this.#stopping;
    } else if (body) await this.#stop(() => readableOf(body), tellsItsEnd(body));
    else await this.#end();
  }

  /** Gives the lease up without releasing it: the signal aborts, and the lock opens at the expiry. */
  abandon(reason: LostReason): void {
    this.lease.abandon(reason);
  }

  async #end(done = false): Promise<void> {
    await this.lease.release({ done, withinMs: this.#remaining.releaseMs });
  }

  /** Whether a batch response names records that failed. */
  #hasFailures(response: unknown): boolean {
    if (Array.isArray(response)) return this.#isBatch && response.some((result) => result?.status === 'rejected');
    const failures = (response as { batchItemFailures?: unknown } | null | undefined)?.batchItemFailures ?? [];
    return !(Array.isArray(failures) && failures.length === 0);
  }

  async #done(done = true): Promise<void> {
    warnIfReleased(this.lease);
    await this.#end(done);
    if (this.#onLost === 'throw') this.lease.signal.throwIfAborted();
  }

  /** The same stream, but it ends only when the lease has, and fails if the lease was lost. */
  #send(body: Body): Readable {
    const source = readableOf(body);
    const parts = source[Symbol.asyncIterator]();
    const isTold = tellsItsEnd(body);
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
          await this.#done();
          sent.push(null);
        };
        next().catch((error) => sent.destroy(error));
      },
      destroy: (error, callback) => {
        const stopping = isOver ? this.#end() : this.#stop(() => source, isTold);
        this.#stopping = stopping.then(() => {
          // Another lock may send this stream: of its work, too, nobody can tell then.
          if (this.lease.signal.reason?.reason === 'abandoned') Object.assign(sent, { [untold]: true });
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
      // Nor can anybody tell when a body ends that cannot be destroyed.
    }
    this.abandon('abandoned');
  }
}

/** Tells whoever released a lease that is not theirs to release: nothing else would. */
export function warnIfReleased(lease: Lease): void {
  try {
    lease.assertHeld();
  } catch (error) {
    if (!(error instanceof LockLostError && error.reason === 'released')) return;
    console.warn(
      `The handler released the lease of '${lease.key}' itself. What came after that ran without the lock, and a once ` +
        'token is done only if the handler called release({ done: true }). Leave the release to leasehold.',
    );
  }
}

/** Marks a stream of ours that has closed while its body may still be produced. */
const untold = Symbol.for('leasehold.untold');

/** Node's own or a web stream. */
type Body = Readable | ReadableStream;

/** The stream in a response, where Middy and Lambda look for one. */
function bodyIn(response: unknown): Body | undefined {
  if (isStream(response)) return response;
  const { statusCode, headers, body } = (response ?? {}) as { statusCode?: number; headers?: object; body?: unknown };
  return (statusCode || headers) && isStream(body) ? body : undefined;
}

const isStream = (value: unknown): value is Body =>
  value instanceof ReadableStream || typeof (value as Readable | undefined)?.pipe === 'function';

const readableOf = (body: Body): Readable =>
  body instanceof ReadableStream ? Readable.fromWeb(body as never, { objectMode: true }) : body;

/**
 * Whether a body closes only after the work that produces the body. Only a stream with a `_destroy` of its own can wait for
 * its work, as the stream of a generator does. Nobody can tell when the work ends behind a web stream, a Duplex, which
 * somebody else writes to, or a stream that somebody pushes to.
 */
function tellsItsEnd(body: Body): boolean {
  if (!(body instanceof Readable) || 'write' in body || body._destroy === Readable.prototype._destroy) return false;
  // Node closes a stream made of a web stream without waiting for the web stream's work.
  return String(body._destroy) !== String(Readable.fromWeb(new ReadableStream() as never)._destroy);
}
