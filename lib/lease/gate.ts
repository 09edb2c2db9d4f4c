import { LockStoreError } from '../record/errors.ts';
import type { DatedAnswer, LeaseStore } from '../record/store.ts';
import { type Clock, instant, startTimer } from './clock.ts';
import { onAbort } from './on-abort.ts';
import { type SendContext, type SendOptions, send } from './send.ts';

/** The most requests of a store that are under way at a time, unless the store says another number: the SDK's sockets. */
const MOST_IN_FLIGHT = 50;
/** The most turns that are kept free for renewals. */
const MOST_KEPT = 5;

/**
 * The order in which operations get a turn: the smaller number first, and of equal numbers the earlier call. The order of a
 * renewal is the deadline of its lease, in milliseconds since the epoch, which comes before all of these. A read comes when
 * an acquire of that moment would: behind a crowd of acquires, a waiter would not see that its lock has opened.
 */
export const ORDER = { release: 1e15, acquire: 2e15, read: 2e15 } as const;

const LATE =
  'the time was over before it could be sent, behind other requests of this process. Allow more time, or send fewer at once.';

/** An operation that waits for a turn, and the reasons to leave the queue. */
export interface Turn {
  readonly clock: Clock;
  /** The operation, as messages begin with it: `Renewing 'nightly'`. */
  readonly what: string;
  readonly order: number;
  /** Milliseconds after which the operation is no longer worth a turn. */
  readonly withinMs: number;
  /** The operation leaves the queue, with the signal's reason, when one of these aborts. */
  readonly signals: readonly (AbortSignal | undefined)[];
}

interface Queued {
  readonly order: number;
  readonly number: number;
  /** Gives the operation its turn. Undefined once the operation has left the queue. */
  start: (() => void) | undefined;
}

/**
 * Bounds the requests of a store that are under way at a time, in all clients of the process. An operation takes a turn, and
 * sends one request after the other while it has the turn. Without the bound, requests would wait for the SDK's sockets
 * and for the CPU while their time-outs run, and each time-out would send one request more.
 *
 * - The moments of a request are written when the operation has its turn, so that no lease loses the time in the queue.
 * - Renewals overtake everything else, the soonest deadline first. A tenth of the turns, from one to five, is for renewals
 *   alone, so that other requests which hang keep no renewal waiting. A single turn is for everybody.
 */
export class Gate {
  readonly #store: Pick<LeaseStore, 'maxInFlight'>;
  /** A binary heap: the operation that comes first stands first. */
  readonly #queue: Queued[] = [];
  #queued = 0;
  #running = 0;

  constructor(store: Pick<LeaseStore, 'maxInFlight'>) {
    this.#store = store;
  }

  /**
   * Runs an operation as soon as it gets a turn. The operation must run no other operation through the gate.
   * @throws the error of the operation, the reason of a signal, or a LockStoreError if `withinMs` passed in the queue.
   */
  async run<Result>(turn: Turn, operation: () => Promise<Result>): Promise<Result> {
    if (this.#hasTurn(turn.order)) this.#running++;
    else await this.#wait(turn);
    try {
      return await operation();
    } finally {
      this.#running--;
      this.#startNext();
    }
  }

  #hasTurn(order: number): boolean {
    const { maxInFlight = 0 } = this.#store;
    const most = maxInFlight >= 1 ? maxInFlight : MOST_IN_FLIGHT;
    const kept = order < ORDER.release || most < 2 ? 0 : Math.min(MOST_KEPT, Math.max(1, Math.floor(most / 10)));
    return this.#running < most - kept;
  }

  /** Waits in the queue for a turn. */
  async #wait({ clock, what, order, withinMs, signals }: Turn): Promise<void> {
    for (const signal of signals) signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const leave = (settle: () => void) => {
        queued.start = undefined;
        stop();
        stopTimer();
        settle();
      };
      const queued: Queued = { order, number: this.#queued++, start: () => leave(resolve) };
      const stop = onAbort(signals, (reason) => leave(() => reject(reason)));
      const expire = () => leave(() => reject(new LockStoreError(`${what}: ${LATE}`, { transient: true })));
      const stopTimer = startTimer(clock, Math.max(1, Math.floor(withinMs)), expire);
      push(this.#queue, queued);
    });
  }

  #startNext(): void {
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      if (first.start && !this.#hasTurn(first.order)) return;
      pop(this.#queue);
      if (!first.start) continue;
      this.#running++;
      first.start();
    }
  }
}

const isBefore = (a: Queued, b: Queued): boolean => a.order < b.order || (a.order === b.order && a.number < b.number);

function push(heap: Queued[], added: Queued): void {
  let at = heap.length;
  for (let up = (at - 1) >> 1; at > 0 && isBefore(added, heap[up] as Queued); up = (at - 1) >> 1) {
    heap[at] = heap[up] as Queued;
    at = up;
  }
  heap[at] = added;
}

function pop(heap: Queued[]): void {
  const last = heap.pop() as Queued;
  if (heap.length === 0) return;
  let at = 0;
  for (;;) {
    let down = 2 * at + 1;
    if (down + 1 < heap.length && isBefore(heap[down + 1] as Queued, heap[down] as Queued)) down++;
    if (down >= heap.length || isBefore(last, heap[down] as Queued)) break;
    heap[at] = heap[down] as Queued;
    at = down;
  }
  heap[at] = last;
}

const gates = new WeakMap<object, Gate>();

/** Gives the one `Gate` of a store's connection. A gate knows of requests and of no grant (invariant 11). */
export function gateOf(store: LeaseStore): Gate {
  const { connection = store } = store;
  const gate = gates.get(connection) ?? new Gate(store);
  gates.set(connection, gate);
  return gate;
}

/** The options of an operation that consists of one request, and waits for a turn first. */
export interface QueuedOptions extends Omit<SendOptions, 'since'> {
  /** The place in the gate's queue: see `ORDER`. */
  readonly order: number;
  /**
   * Ends the wait for a turn: the client is closed.
   * @default none
   */
  readonly closing?: AbortSignal | undefined;
}

/** Sends one request to a store as soon as the gate has a turn. */
export function sendInTurn<Answer extends DatedAnswer & { maybeAppliedBefore?: boolean | undefined }>(
  context: SendContext & { readonly gate: Gate; readonly store: LeaseStore },
  what: string,
  request: (signal: AbortSignal) => Promise<Answer>,
  options: QueuedOptions,
): Promise<Answer> {
  const { clock, gate, store } = context;
  const { requestTimeoutMs = store.requestTimeoutMs } = options;
  const { order, withinMs = Infinity, caller, signal, closing } = options;
  const since = instant(clock);
  const queueMs = Math.min(withinMs, caller?.leftMs ?? Infinity);
  return gate.run({ clock, what, order, withinMs: queueMs, signals: [signal, closing] }, () =>
    send(context, what, request, { ...options, requestTimeoutMs, since }),
  );
}
