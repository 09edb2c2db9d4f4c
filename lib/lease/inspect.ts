import { checkKey, checkNames } from '../record/check.ts';
import type { LockRecord } from '../record/record.ts';
import { BackOff } from './back-off.ts';
import { pause } from './clock.ts';
import type { LeaseContext } from './context.ts';
import { dataOf } from './options.ts';
import { send, storeError } from './send.ts';

/** The state of a lock, for operators. */
export interface LockState extends Omit<LockRecord, 'data'> {
  /** True if a grant is outstanding and has not expired. Also if its holder is dead, and `holdAtLeastMs` keeps the lock closed. */
  readonly held: boolean;
  /** Milliseconds until others may take the lock, if its holder does not renew. 0 if the lock is open. */
  readonly opensInMs: number;
  /** The note that its holder attached. */
  readonly data: unknown;
}

/** The most keys that one request reads. */
const BATCH = 100;
/** The pauses of a reader after a throttled server has left keys out, in milliseconds. */
const THROTTLED_MS = { first: 50, most: 2_000 };

export async function inspect(context: LeaseContext, key: string): Promise<LockState | undefined> {
  checkKey(key);
  const read = (signal: AbortSignal) => context.store.read(key, { consistent: true }, signal);
  const { record } = await send(context, `Reading '${key}'`, read);
  return record && stateOf(context, record);
}

export async function inspectMany(
  context: LeaseContext,
  keys: readonly string[],
  options: { readonly signal?: AbortSignal | undefined },
): Promise<Map<string, LockState>> {
  checkNames('inspectMany', options, { signal: 0 });
  const { store, clock, closing } = context;
  const { signal } = options;
  const states = new Map<string, LockState>();
  const backOff = new BackOff(THROTTLED_MS.first, THROTTLED_MS.most);
  let left = keys.map(checkKey);
  while (left.length > 0) {
    const batch = left.slice(0, BATCH);
    const read = (signal: AbortSignal) => store.readMany(batch, signal);
    const { records, unprocessed } = await send(context, `Reading ${batch.length} locks`, read, { signal });
    for (const record of records) states.set(record.key, stateOf(context, record));
    left = [...unprocessed, ...left.slice(batch.length)];
    if (unprocessed.length > 0) await pause(clock, backOff.nextMs(), closing, signal);
  }
  return states;
}

export async function* list(context: LeaseContext, options: { readonly prefix?: string }): AsyncIterable<LockState> {
  checkNames('list', options, { prefix: 0 });
  try {
    for await (const record of context.store.list(options.prefix ?? '')) yield stateOf(context, record);
  } catch (error) {
    throw storeError(error, 'Listing locks');
  }
}

function stateOf({ serverClock }: LeaseContext, record: LockRecord): LockState {
  const opensInMs = serverClock.untilOpenMs(record);
  return { ...record, held: record.lockId !== undefined && opensInMs > 0, opensInMs, data: dataOf(record.data) };
}
