import type { Model, Step } from './explore.ts';

/**
 * The way in which an owner takes its keys:
 * - `sorted`: one after the other, in the keys' order. The owner holds what it has while it waits for the next.
 * - `as given`: the same, in the caller's order.
 * - `at once`: all at the same time. When one is refused, the owner gives back what was granted, and asks again.
 */
type Way = 'sorted' | 'as given' | 'at once';

export interface ManyBounds {
  /** The keys of each owner, in the caller's order. */
  readonly keys: readonly (readonly number[])[];
  readonly way: Way;
  /** The number of owners that may die, of waits that may end, and of leases that may be lost. Default: none. */
  readonly deaths?: number;
  readonly timeouts?: number;
  readonly losses?: number;
}

type Phase = 'wants' | 'holds all' | 'done' | 'gave up' | 'dead';

interface Owner {
  phase: Phase;
  /** The keys that were granted. */
  got: number[];
  /** The keys that are asked for at once, without an answer yet. */
  asked: number[];
  /** True once one of them was refused. */
  refused: boolean;
}

/** Each key is a lock that is proven elsewhere: a place with one holder. */
export interface Many {
  /** The holder of each key. */
  readonly holders: (number | undefined)[];
  readonly owners: Owner[];
  readonly left: { deaths: number; timeouts: number; losses: number };
}

const NAMES = 'ABCD';
const isOver = (state: Many): boolean =>
  state.owners.every(({ phase }) => phase === 'done' || phase === 'gave up' || phase === 'dead');

/** A model of owners who each want several keys, all or none. */
export function many({ keys, way, deaths = 0, timeouts = 0, losses = 0 }: ManyBounds): Model<Many> {
  const orders = keys.map((wanted) => (way === 'sorted' ? [...wanted].sort((a, b) => a - b) : [...wanted]));
  return {
    first: () => ({
      holders: Array.from({ length: 1 + Math.max(...keys.flat()) }),
      owners: keys.map(() => ({ phase: 'wants', got: [], asked: [], refused: false })),
      left: { deaths, timeouts, losses },
    }),
    idOf: (state) => JSON.stringify(state),
    isGoal: isOver,
    faultsIn: ({ owners, holders }) =>
      owners.flatMap(({ phase }, me) => {
        const lacks = orders[me]?.some((key) => holders[key] !== me);
        if (phase === 'holds all' && lacks) return ['believes without all'];
        return (phase === 'done' || phase === 'gave up') && holders.includes(me) ? ['left behind'] : [];
      }),
    *steps(state) {
      for (const [me, order] of orders.entries()) yield* stepsOf(state, me, order, way);
    },
  };
}

function* stepsOf(state: Many, me: number, order: readonly number[], way: Way): Generator<Step<Many>> {
  const { phase, got } = state.owners[me] as Owner;
  const name = NAMES[me];
  const { left, holders } = state;
  if (phase === 'wants') {
    if (way === 'at once') yield* asksAtOnce(state, me, order);
    else yield* takesNext(state, me, order, got.length);
    if (left.timeouts > 0) {
      yield step(state, me, `${name}'s wait is over: it gives all back`, (next, owner) => {
        next.left.timeouts--;
        giveBack(next, me);
        Object.assign(owner, { phase: 'gave up', asked: [], refused: false });
      });
    }
  }
  if (phase === 'holds all') {
    const end = (next: Many, owner: Owner, phase: Phase) => {
      giveBack(next, me);
      owner.phase = phase;
    };
    yield step(state, me, `${name} releases all`, (next, owner) => end(next, owner, 'done'));
    if (left.losses > 0) {
      yield step(state, me, `${name} loses ${order[0]}, ends its work and releases the rest`, (next, owner) => {
        next.left.losses--;
        end(next, owner, 'gave up');
      });
    }
  }
  if (left.deaths > 0 && (phase === 'wants' || phase === 'holds all')) {
    yield step(state, me, `${name} dies`, (next, owner) => {
      next.left.deaths--;
      owner.phase = 'dead';
    });
  }
  for (const [key, holder] of phase === 'dead' ? holders.entries() : []) {
    if (holder !== me) continue;
    yield step(state, me, `the lease of ${name} on ${key} expires`, (next) => {
      next.holders[key] = undefined;
    });
  }
}

function* takesNext(state: Many, me: number, order: readonly number[], place: number): Generator<Step<Many>> {
  const key = order[place] as number;
  if (state.holders[key] !== undefined) return;
  yield step(state, me, `${NAMES[me]} gets ${key}`, (next, owner) => {
    next.holders[key] = me;
    owner.got.push(key);
    if (owner.got.length === order.length) owner.phase = 'holds all';
  });
}

function* asksAtOnce(state: Many, me: number, order: readonly number[]): Generator<Step<Many>> {
  const { got, asked, refused } = state.owners[me] as Owner;
  const name = NAMES[me];
  if (asked.length === 0 && got.length === 0 && !refused) {
    yield step(state, me, `${name} asks for ${order}`, (_, owner) => {
      owner.asked = [...order];
    });
  }
  for (const key of asked) {
    const isFree = state.holders[key] === undefined;
    yield step(state, me, `${name} asks for ${key}: ${isFree ? 'granted' : 'refused'}`, (next, owner) => {
      owner.asked = owner.asked.filter((other) => other !== key);
      if (isFree) {
        next.holders[key] = me;
        owner.got = [...owner.got, key].sort();
      } else owner.refused = true;
      if (owner.asked.length === 0 && !owner.refused) owner.phase = 'holds all';
    });
  }
  if (refused && asked.length === 0) {
    yield step(state, me, `${name} gives all back`, (next, owner) => {
      giveBack(next, me);
      owner.refused = false;
    });
  }
}

function giveBack(next: Many, me: number): void {
  for (const [key, holder] of next.holders.entries()) if (holder === me) next.holders[key] = undefined;
  (next.owners[me] as Owner).got = [];
}

function step(state: Many, me: number, text: string, change: (next: Many, owner: Owner) => void): Step<Many> {
  const next: Many = {
    holders: [...state.holders],
    owners: state.owners.map((owner) => ({ ...owner, got: [...owner.got], asked: [...owner.asked] })),
    left: { ...state.left },
  };
  change(next, next.owners[me] as Owner);
  return [text, next];
}
