// At most N holders of a key, in three forms: N slots, each an ordinary lock, as leasehold has them; and the two forms with
// one record that leasehold does not have: a counter, and a map of holders. Messages are lost, late and delivered twice.
// Owners give up, release, renew, or do nothing more, as a crashed process. Clocks may be off.
import type { Model, Step } from './explore.ts';

export interface Exploration {
  /** @default 'slots' */
  readonly form?: 'slots' | 'map' | 'counter';
  /** The permits that each owner believes the key to have. The numbers differ while they are being changed. */
  readonly permits: readonly number[];
  /** The time by which each owner's clock is ahead. */
  readonly ahead?: readonly number[];
  /** The number of acquires that each owner sends. */
  readonly tries: readonly number[];
  readonly lease: number;
  /** The time before the expiry at which belief ends. A mutant has 0, though clocks are off. */
  readonly safety?: number;
  /** The time at which the exploration ends. */
  readonly end: number;
  /** The messages that the network may deliver twice. */
  readonly duplicates?: number;
}

/** The record of a slot. Ids count from 1; 0 is none. */
interface Slot {
  readonly id: number;
  readonly expiry: number;
  readonly acquired: number;
  readonly releasedBy: number;
  readonly token: number;
}

interface Owner {
  readonly state: 'idle' | 'asking' | 'held';
  readonly asked: number;
  readonly id: number;
  readonly slot: number;
  readonly deadline: number;
}

interface Message {
  readonly kind: 'acquire' | 'release';
  readonly owner: number;
  readonly id: number;
  readonly slot: number;
  /** The moment that an acquire compares, by its owner's clock. */
  readonly now: number;
  /** The moment of sending. */
  readonly sent: number;
  /** In a map: the expired holder that the acquire replaces. 0 for none. */
  readonly dead: number;
}

interface State {
  readonly time: number;
  readonly duplicates: number;
  readonly slots: readonly (Slot | null)[];
  /** The one record of the other forms: the holders, with their expiries. */
  readonly holders: Readonly<Record<number, number>>;
  readonly count: number;
  readonly owners: readonly Owner[];
  readonly wire: readonly Message[];
  /** The ids that were granted, and released. */
  readonly granted: readonly number[];
  readonly released: readonly number[];
}

interface Applied {
  readonly state: State;
  readonly isGranted: boolean;
  readonly expiry: number;
  readonly faults: readonly string[];
}

export const FAULT = {
  slot: 'two holders of one slot',
  most: 'more holders than permits',
  twice: 'an acquire is granted twice',
  leak: 'a permit is gone for ever: granted after its release',
  revived: 'a holder is revived after its release',
} as const;

const NAMES = 'ABCD';
const replace = <T>(all: readonly T[], at: number, one: T): T[] => all.map((other, i) => (i === at ? one : other));
const believes = ({ time }: State, owner: Owner): boolean => owner.state === 'held' && time < owner.deadline;

export function permitsModel(exploration: Exploration): Model<State> {
  const { form = 'slots', permits, tries, lease, safety = 1, end, duplicates = 0 } = exploration;
  const ahead = exploration.ahead ?? permits.map(() => 0);
  const most = Math.max(...permits);
  const clockOf = (state: State, owner: number) => state.time + (ahead[owner] as number);

  /** The store judges a message: under the conditions of a lock, for each slot. */
  function applyToSlot(state: State, { kind, id, slot, now }: Message): Applied {
    const record = state.slots[slot] ?? null;
    const put = (next: Slot, changes: Partial<State>): State => ({
      ...state,
      slots: replace(state.slots, slot, next),
      ...changes,
    });
    if (kind === 'release') {
      if (record?.id !== id) return { state, isGranted: false, expiry: 0, faults: [] };
      const opened = { ...record, id: 0, releasedBy: id, expiry: record.acquired + 1 };
      return { state: put(opened, { released: [...state.released, id] }), isGranted: false, expiry: 0, faults: [] };
    }
    const isFree = record === null || (record.expiry <= now && record.id !== id && record.releasedBy !== id);
    if (!isFree) return { state, isGranted: record.id === id, expiry: record.expiry, faults: [] };
    const expiry = now + lease;
    const token = (record?.token ?? now) + 1;
    const granted = { id, expiry, acquired: now, releasedBy: record?.releasedBy ?? 0, token };
    const faults = state.granted.includes(id) ? [FAULT.twice] : [];
    const ids = [...new Set([...state.granted, id])].sort();
    return { state: put(granted, { granted: ids }), isGranted: true, expiry, faults };
  }

  /** A counter with the owners' ids: an acquire adds one if there are fewer than N, and a release takes its own away. */
  function applyToCounter(state: State, { kind, owner, id }: Message): Applied {
    const { [id]: own, ...others } = state.holders;
    if (kind === 'release') {
      const count = state.count - (own === undefined ? 0 : 1);
      const released = [...new Set([...state.released, id])].sort();
      return { state: { ...state, holders: others, count, released }, isGranted: false, expiry: 0, faults: [] };
    }
    if (own !== undefined || state.count >= (permits[owner] as number))
      return { state, isGranted: false, expiry: end + lease, faults: [] };
    const faults = state.released.includes(id) ? [FAULT.leak] : [];
    const next = { ...state, holders: { ...state.holders, [id]: 1 }, count: state.count + 1 };
    return { state: next, isGranted: true, expiry: end + 10 * lease, faults };
  }

  /** A map of holders: an acquire comes in if there are fewer than N, or in the place of a holder that has expired. */
  function applyToMap(state: State, { kind, owner, id, now, dead }: Message): Applied {
    const { [id]: own, ...others } = state.holders;
    if (kind === 'release') {
      const released = own === undefined ? state.released : [...new Set([...state.released, id])].sort();
      return { state: { ...state, holders: others, released }, isGranted: false, expiry: 0, faults: [] };
    }
    const seen = state.holders[dead];
    const hasRoom =
      dead > 0 ? seen !== undefined && seen <= now : Object.keys(others).length < (permits[owner] as number);
    if (own !== undefined || !hasRoom) return { state, isGranted: own !== undefined, expiry: own ?? 0, faults: [] };
    const { [dead]: _, ...left } = state.holders;
    const faults = state.released.includes(id) ? [FAULT.revived] : [];
    return {
      state: { ...state, holders: { ...left, [id]: now + lease } },
      isGranted: true,
      expiry: now + lease,
      faults,
    };
  }

  const apply = { slots: applyToSlot, counter: applyToCounter, map: applyToMap }[form];

  /** The owner learns the answer to its acquire. A grant that is past its deadline is discarded. */
  function answered(state: State, message: Message, { isGranted, expiry }: Applied): State {
    const owner = state.owners[message.owner] as Owner;
    if (message.kind !== 'acquire' || owner.id !== message.id || owner.state !== 'asking') return state;
    const become = (change: Partial<Owner>, wire = state.wire): State => ({
      ...state,
      owners: replace(state.owners, message.owner, { ...owner, ...change }),
      wire,
    });
    if (!isGranted) return become({ state: 'idle' });
    const deadline = Math.min(message.sent + lease, expiry - (ahead[message.owner] as number)) - safety;
    if (state.time < deadline) return become({ state: 'held', deadline });
    return become({ state: 'idle' }, [...state.wire, releaseOf(message)]);
  }

  const releaseOf = ({ owner, id, slot }: Pick<Message, 'owner' | 'id' | 'slot'>): Message => ({
    kind: 'release',
    owner,
    id,
    slot,
    now: 0,
    sent: 0,
    dead: 0,
  });

  /** The acquires that an owner may send now: for each slot, or in the place of each holder that has expired. */
  function choices(state: State, owner: number): Pick<Message, 'slot' | 'dead'>[] {
    if (form === 'slots') return Array.from({ length: permits[owner] as number }, (_, slot) => ({ slot, dead: 0 }));
    const isDead = ([, expiry]: [string, number]) => form === 'map' && expiry <= clockOf(state, owner);
    const dead = Object.entries(state.holders).filter(isDead);
    return [{ slot: 0, dead: 0 }, ...dead.map(([id]) => ({ slot: 0, dead: Number(id) }))];
  }

  function* ownerSteps(state: State, at: number): Iterable<Step<State>> {
    const owner = state.owners[at] as Owner;
    const name = NAMES[at];
    const send = (change: Partial<Owner>, message: Message): State => ({
      ...state,
      owners: replace(state.owners, at, { ...owner, ...change }),
      wire: [...state.wire, message],
    });
    if (owner.state === 'idle' && owner.asked < (tries[at] as number)) {
      for (const { slot, dead } of choices(state, at)) {
        const asked = owner.asked + 1;
        const id = at * 3 + asked;
        const message: Message = {
          ...releaseOf({ owner: at, id, slot }),
          kind: 'acquire',
          now: clockOf(state, at),
          sent: state.time,
          dead,
        };
        const instead = dead > 0 ? ` in the place of ${dead}` : '';
        yield [
          `${name} asks for slot ${slot}${instead}`,
          send({ state: 'asking', asked, id, slot, deadline: 0 }, message),
        ];
      }
    }
    const release = releaseOf({ owner: at, id: owner.id, slot: owner.slot });
    if (owner.state === 'asking') yield [`${name} gives up, and releases`, send({ state: 'idle' }, release)];
    if (owner.state === 'held') yield [`${name} releases`, send({ state: 'idle' }, release)];
  }

  /** A message arrives, its answer arrives or is lost, and a duplicate of the message may stay on the wire. */
  function* deliveries(state: State): Iterable<Step<State>> {
    const seen = new Set<string>();
    for (const [at, message] of state.wire.entries()) {
      const text = JSON.stringify(message);
      if (seen.has(text)) continue;
      seen.add(text);
      const name = `the ${message.kind} of ${NAMES[message.owner]} (${message.id}) arrives`;
      for (const stays of state.duplicates > 0 ? [false, true] : [false]) {
        const left = stays ? state.wire : state.wire.filter((_, i) => i !== at);
        const before = { ...state, wire: left, duplicates: state.duplicates - Number(stays) };
        const applied = apply(before, message);
        const again = stays ? ', and will arrive again' : '';
        yield [`${name}${again}`, answered(applied.state, message, applied), applied.faults];
        yield [`${name}, and its answer is lost${again}`, applied.state, applied.faults];
      }
    }
  }

  return {
    first: () => ({
      time: 0,
      duplicates,
      slots: form === 'slots' ? Array.from({ length: most }, () => null) : [],
      holders: {},
      count: 0,
      owners: permits.map(() => ({ state: 'idle', asked: 0, id: 0, slot: 0, deadline: 0 })),
      wire: [],
      granted: [],
      released: [],
    }),
    idOf: (state) => {
      const wire = state.wire.map((message) => JSON.stringify(message)).sort();
      const { time, duplicates, slots, holders, count, owners, granted, released } = state;
      return JSON.stringify([
        time,
        duplicates,
        slots,
        holders,
        count,
        owners.map(Object.values),
        wire,
        granted,
        [...released].sort(),
      ]);
    },
    faultsIn: (state) => {
      const holders = state.owners.filter((owner) => believes(state, owner));
      const slots = new Set(holders.map(({ slot }) => slot));
      const twoInOne = form === 'slots' && slots.size < holders.length;
      return [...(twoInOne ? [FAULT.slot] : []), ...(holders.length > most ? [FAULT.most] : [])];
    },
    *steps(state) {
      if (state.time < end) yield [`the time is ${state.time + 1}`, { ...state, time: state.time + 1 }];
      for (const at of state.owners.keys()) yield* ownerSteps(state, at);
      yield* deliveries(state);
    },
  };
}
