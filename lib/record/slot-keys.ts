import { bytes, checkKey, checkThat, MAX_TEXT_BYTES, show } from './check.ts';

/** The most holders of one key: one request reads as many records. */
const MOST_PERMITS = 100;
/** The longest key with room for the number of every slot, so that the permits can be raised. */
const MOST_KEY_BYTES = MAX_TEXT_BYTES - `#${MOST_PERMITS - 1}`.length;

/**
 * Gives the keys of the records behind a lock with `permits`: slot 0 is the key itself, and slot 3 is `key#3`. For
 * operators: each slot is an ordinary lock, to inspect, to end and to repair by its own key.
 * @example
 * ```ts
 * import { type LockClient, slotKeys } from 'leasehold';
 *
 * export async function countHolders(locks: LockClient) {
 *   const states = await locks.inspectMany(slotKeys('partner', 5)); // partner, partner#1, ... partner#4
 *   return [...states.values()].filter(({ held }) => held).length;
 * }
 * ```
 * @param permits the most holders at a time: 1 to 100.
 * @returns as many keys as there are permits, in the order of the slots.
 * @throws TypeError that shows the value, if the number is out of its range, or if the key has no room for slots.
 */
export function slotKeys(key: string, permits: number): string[] {
  checkPermits(permits);
  checkSlotsOf(key, permits);
  return Array.from({ length: permits }, (_, slot) => slotKey(key, slot));
}

/** The key of the record of one slot. */
export const slotKey = (key: string, slot: number): string => (slot === 0 ? key : `${key}#${slot}`);

/** The key of the lock whose slot a record may be. */
export const lockOf = (recordKey: string): string => recordKey.replace(/#\d+$/, '');

/** The slot of a record, by the record's key and the key that the caller gave. */
export const slotOf = (key: string, recordKey: string): number =>
  recordKey === key ? 0 : Number(recordKey.slice(key.length + 1));

export function checkPermits(permits: unknown): number {
  const isNumber = isWhole(permits, 1, MOST_PERMITS);
  checkThat(isNumber, 'permits', `a whole number from 1 to ${MOST_PERMITS}`, permits);
  return permits as number;
}

/** Checks the number of a slot that another process handed over. */
export function checkSlot(slot: unknown): number {
  checkThat(isWhole(slot, 0, MOST_PERMITS - 1), 'The slot of a handle', 'as handOff() gave it', slot);
  return slot as number;
}

const isWhole = (value: unknown, least: number, most: number): boolean =>
  Number.isInteger(value) && (value as number) >= least && (value as number) <= most;

/**
 * Checks that the slots of a key can have keys of their own. A key that ends as a slot's key does would share records with
 * the slots of another key.
 * @throws TypeError that shows the key.
 */
export function checkSlotsOf(key: unknown, permits: number): string {
  const checked = checkKey(key);
  if (permits === 1) return checked;
  if (bytes(checked) > MOST_KEY_BYTES) {
    throw new TypeError(
      `The key of a lock with permits must have at most ${MOST_KEY_BYTES} bytes, to leave room for the number of a slot, but ${show(key)} has ${bytes(checked)}.`,
    );
  }
  const endsAsSlot = /#\d+$/.test(checked);
  checkThat(!endsAsSlot, 'The key of a lock with permits', 'a key that does not end as the key of a slot (#1)', key);
  return checked;
}
