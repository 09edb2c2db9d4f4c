import { checkKey, checkNames, checkSignal, checkThat } from '../record/check.ts';
import { isOwed, type LockRecord } from '../record/record.ts';
import type { StoreProblem } from '../record/store.ts';
import { isCanonical, shownToken } from '../record/token.ts';
import { BackOff } from './back-off.ts';
import { pause } from './clock.ts';
import type { LeaseContext, OperatorContext } from './context.ts';
import { either } from './either.ts';
import { ORDER, sendInTurn } from './gate.ts';
import { dataOf } from './options.ts';
import { limited, storeError } from './send.ts';

/** The state of a lock, for operators. */
export interface LockState extends Omit<LockRecord, 'data' | 'committed' | 'doneResult'> {
  /** True if a grant is outstanding and has not expired. Also if its holder is dead, and `holdAtLeastMs` keeps the lock closed. */
  readonly held: boolean;
  /** Milliseconds until others may take the lock, if its holder does not renew. 0 if the lock is open. */
  readonly opensInMs: number;
  /** The greatest `once` token that finished: `2026-01-01T02:00:00Z`, `10`, `text`. */
  readonly doneToken?: string | undefined;
  /** The result that was released together with `doneToken`. Undefined if there was none. */
  readonly doneResult?: unknown;
  /**
   * True if a run was asked for by `coalesce`, and none that began later has succeeded so far. Also while such a run is under
   * way.
   */
  readonly owed: boolean;
  /** The note that its holder attached. Text that is no JSON, which somebody else has written, is given as it is. */
  readonly data: unknown;
  /** The data that a holder last committed, and the fencing token of that holder's grant. Undefined if nobody has. */
  readonly committed: { readonly data: unknown; readonly fencingToken: number } | undefined;
}

/** The most keys that one request reads. */
const BATCH = 100;
/** The batches that are read at a time. */
const READERS = 4;
/** The time-out of one page of a list. A page of DynamoDB's is a megabyte, of which the filter may leave nothing. */
const PAGE_MS = 5_000;
/** The time-out of a check, in milliseconds. */
const CHECK_MS = 10_000;
/** The pauses of a reader after a throttled server has left keys out, in milliseconds. */
const THROTTLED_MS = { first: 50, most: 2_000 };

/**
 * The options of `list`.
 * @example
 * ```ts
 * import type { ListOptions } from 'leasehold';
 *
 * export const options: ListOptions = { prefix: 'invoices/', signal: AbortSignal.timeout(60_000) };
 * ```
 */
export interface ListOptions {
  /**
   * The beginning of the keys.
   * @default '': every key
   */
  readonly prefix?: string | undefined;
  /**
   * Ends the list, with the signal's reason.
   * @default none
   */
  readonly signal?: AbortSignal | undefined;
}

const LIST_OPTIONS = { prefix: 0, signal: 0 } satisfies Record<keyof ListOptions, 0>;

export async function inspect(context: LeaseContext, key: string, consistent = true): Promise<LockState | undefined> {
  checkKey(key);
  const read = (signal: AbortSignal) => context.store.read(key, { consistent }, signal);
  const { record } = await sendInTurn(context, `Reading '${key}'`, read, { order: ORDER.read });
  return record && stateOf(context, record);
}

export async function inspectMany(
  context: OperatorContext,
  keys: readonly string[],
  options: { readonly signal?: AbortSignal | undefined },
): Promise<Map<string, LockState>> {
  checkNames('inspectMany', options, { signal: 0 });
  const { store, clock, closing } = context;
  const { signal } = options;
  checkSignal(signal);
  const limits = { order: ORDER.read, signal, closing };
  const states = new Map<string, LockState>();
  // DynamoDB refuses a batch that has a key twice.
  const all = [...new Set(keys.map(checkKey))];
  let next = 0;
  let failure: { readonly error: unknown } | undefined;
  const readOn = async () => {
    const backOff = new BackOff(THROTTLED_MS.first, THROTTLED_MS.most);
    let again: readonly string[] = [];
    while (!failure && (again.length > 0 || next < all.length)) {
      const from = next;
      next = Math.min(all.length, from + BATCH - again.length);
      const batch = [...again, ...all.slice(from, next)];
      const read = (signal: AbortSignal) => store.readMany(batch, signal);
      const { records, unprocessed } = await sendInTurn(context, `Reading ${batch.length} locks`, read, limits);
      for (const record of records) states.set(record.key, stateOf(context, record));
      again = unprocessed;
      if (again.length > 0) await pause(clock, backOff.nextMs(), closing, signal);
    }
  };
  // Nothing is left behind: the other readers end before the first failure is thrown.
  const fail = (error: unknown) => {
    failure ??= { error };
  };
  await Promise.all(Array.from({ length: READERS }, () => readOn().catch(fail)));
  if (failure) throw (failure as { readonly error: unknown }).error;
  return states;
}

export async function* list(context: OperatorContext, options: ListOptions): AsyncIterable<LockState> {
  checkNames('list', options, LIST_OPTIONS);
  const { prefix = '' } = options;
  checkThat(typeof prefix === 'string', 'prefix', 'a string', prefix);
  checkSignal(options.signal);
  const { signal, end } = either(context.closing, options.signal);
  let cursor: unknown;
  try {
    do {
      const read = (signal: AbortSignal) => context.store.list(prefix, cursor, signal);
      const page = await sendInTurn(context, 'Listing locks', read, {
        order: ORDER.read,
        requestTimeoutMs: PAGE_MS,
        signal,
      });
      for (const record of page.records) {
        signal.throwIfAborted();
        yield stateOf(context, record);
      }
      cursor = page.cursor;
    } while (cursor !== undefined);
  } finally {
    end();
  }
}

/** Asks the store for the findings about its place. A check may need several requests. */
export async function check(context: OperatorContext): Promise<readonly StoreProblem[]> {
  const { store, clock, closing } = context;
  closing.throwIfAborted();
  if (store.check === undefined) return [];
  try {
    return await limited(clock, async (signal) => (await store.check?.(signal)) ?? [], CHECK_MS, closing);
  } catch (error) {
    closing.throwIfAborted();
    throw storeError(error, 'Checking the store', undefined, '');
  }
}

function stateOf({ serverClock }: LeaseContext, record: LockRecord): LockState {
  const opensInMs = serverClock.untilOpenMs(record);
  const { lockId, doneToken, doneResult, data, committed } = record;
  const isToken = doneToken === undefined || isCanonical(doneToken);
  return {
    ...record,
    held: lockId !== undefined && opensInMs > 0,
    opensInMs,
    doneToken: isToken ? shownToken(doneToken) : undefined,
    ...(doneResult !== undefined && { doneResult: dataOf(doneResult) }),
    owed: isOwed(record),
    data: dataOf(data),
    committed: committed && { data: dataOf(committed.data), fencingToken: committed.fencingToken },
  };
}
