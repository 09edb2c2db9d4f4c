// The line of one client: its calls wait for one key, and only the first calls ask the store (lib/lease/line.ts).
import type { Model, Step } from './explore.ts';

/** The state of a call. */
type Call = 'to come' | 'waits' | 'holds' | 'has held' | 'gave up';

/** The work of a call in the line: a write on a slot is out, or a pause goes on before the next look. */
type Asks = 'nothing' | 'pauses' | number;

/** The state of the lock, of the line and of its calls. Calls and slots are numbers from 0. */
interface LineState {
  /** The holder of each slot, as the record has it: a call, or another process. */
  readonly holders: readonly (number | 'nobody' | 'another process')[];
  /** The call whose lease of each slot this client believes in. */
  readonly leases: readonly (number | undefined)[];
  /** The slots that a call of the line was refused by. Of a plain lock, the line has no use for this. */
  readonly refused: readonly boolean[];
  /** The calls in the line, the first first. */
  readonly line: readonly number[];
  readonly calls: readonly Call[];
  readonly asks: readonly Asks[];
  /** The number of times that another process still takes a slot. */
  readonly takings: number;
  /** The number of leases that are still lost. */
  readonly losses: number;
}

interface Line {
  readonly calls: number;
  readonly permits?: number;
  readonly takings?: number;
  readonly losses?: number;
  /** A way in which the first of the line is not woken. */
  readonly mutant?: 'giving up' | 'release' | 'loss';
}

export const NOBODY_ASKS = 'nobody asks for those who wait';
const TWO_ASK = 'two calls ask for one slot';
const TOO_MANY = 'more calls hold than there are slots';

/** The slots that this client does not have. */
const ownFree = ({ leases }: LineState): number[] =>
  leases.flatMap((lease, slot) => (lease === undefined ? [slot] : []));

/** A call asks for a slot that looks open and that no other call asks for. The first looks if there is none. */
function begin(state: LineState, call: number): LineState {
  const open = ownFree(state).filter((slot) => !state.refused[slot] && !state.asks.includes(slot));
  const asks = open[0] ?? (call === state.line[0] ? 'pauses' : 'nothing');
  return { ...state, asks: state.asks.with(call, asks) };
}

/** As many calls begin to ask as slots look open, and the first in any case, if there is a slot that this client has not. */
function wake(state: LineState): LineState {
  const free = ownFree(state);
  const open = free.filter((slot) => !state.refused[slot]);
  const next = free.length === 0 ? [] : state.line.slice(0, Math.max(1, open.length));
  return next.filter((call) => state.asks[call] === 'nothing').reduce(begin, state);
}

/** A lease has ended: a first call that pauses is woken, too. */
function wakeByEnd(state: LineState, slot: number): LineState {
  const [first] = state.line;
  const ended = { ...state, refused: state.refused.with(slot, false) };
  if (first === undefined || state.asks[first] !== 'pauses') return wake(ended);
  return wake(begin({ ...ended, asks: state.asks.with(first, 'nothing') }, first));
}

/** Makes the model of a line. */
export function lineModel({ calls, permits = 1, takings = 2, losses = 1, mutant }: Line): Model<LineState> {
  const slots = <Each>(each: Each): Each[] => Array<Each>(permits).fill(each);

  function* stepsOfCall(state: LineState, call: number): Iterable<Step<LineState>> {
    const becomes = (next: Call) => state.calls.with(call, next);
    if (state.calls[call] === 'to come') {
      yield [`${call} comes`, wake({ ...state, calls: becomes('waits'), line: [...state.line, call] })];
    }
    if (state.calls[call] === 'waits') {
      const line = state.line.filter((other) => other !== call);
      const left = { ...state, calls: becomes('gave up'), line, asks: state.asks.with(call, 'nothing') };
      yield [`${call} gives up`, mutant === 'giving up' ? left : wake(left)];
    }
    if (state.calls[call] !== 'holds') return;
    const slot = state.leases.indexOf(call);
    const ended = { ...state, calls: becomes('has held'), leases: state.leases.with(slot, undefined) };
    const released = { ...ended, holders: state.holders.with(slot, 'nobody') };
    yield [`${call} releases`, mutant === 'release' ? released : wakeByEnd(released, slot)];
    if (state.losses === 0) return;
    const taken = { ...ended, holders: state.holders.with(slot, 'another process'), losses: state.losses - 1 };
    yield [`${call} loses its lease to another process`, mutant === 'loss' ? taken : wakeByEnd(taken, slot)];
  }

  function* stepsOfAsking(state: LineState, call: number): Iterable<Step<LineState>> {
    const slot = state.asks[call];
    const asks = (next: Asks) => state.asks.with(call, next);
    if (slot === 'pauses') {
      const isTaken = (each: number) => state.holders[each] !== 'nobody';
      const refused = permits === 1 ? state.refused : state.refused.map((_, each) => isTaken(each));
      const free = ownFree(state).find((each) => !isTaken(each) && !state.asks.includes(each));
      yield [`${call} looks`, { ...state, refused, asks: asks(free ?? 'pauses') }];
    }
    if (typeof slot !== 'number') return;
    if (state.holders[slot] !== 'nobody') {
      const refused = permits === 1 ? state.refused : state.refused.with(slot, true);
      const isFirst = state.line[0] === call;
      yield [`${call} writes and is refused`, { ...state, refused, asks: asks(isFirst ? 'pauses' : 'nothing') }];
      return;
    }
    const line = state.line.filter((other) => other !== call);
    const held = { holders: state.holders.with(slot, call), leases: state.leases.with(slot, call) };
    const granted = { ...state, ...held, line, calls: state.calls.with(call, 'holds'), asks: asks('nothing') };
    yield [`${call} writes and is granted`, wake(granted)];
  }

  function* stepsOfOthers(state: LineState): Iterable<Step<LineState>> {
    for (const [slot, holder] of state.holders.entries()) {
      const becomes = (next: 'nobody' | 'another process') => ({ ...state, holders: state.holders.with(slot, next) });
      if (holder === 'another process') yield [`another process releases slot ${slot}`, becomes('nobody')];
      if (holder === 'nobody' && state.takings > 0) {
        const taken = { ...becomes('another process'), takings: state.takings - 1 };
        yield [`another process takes slot ${slot}`, taken];
      }
    }
  }

  return {
    first: () => ({
      holders: slots('nobody' as const),
      leases: slots(undefined),
      refused: slots(false),
      line: [],
      calls: Array<Call>(calls).fill('to come'),
      asks: Array<Asks>(calls).fill('nothing'),
      takings,
      losses,
    }),
    *steps(state) {
      for (let call = 0; call < calls; call++) yield* stepsOfCall(state, call);
      for (const call of state.line) yield* stepsOfAsking(state, call);
      yield* stepsOfOthers(state);
    },
    idOf: (state) => JSON.stringify(state),
    faultsIn(state) {
      const faults: string[] = [];
      const [first] = state.line;
      const asked = state.asks.filter((asks) => typeof asks === 'number');
      if (first !== undefined && state.asks[first] === 'nothing' && ownFree(state).length > 0) faults.push(NOBODY_ASKS);
      if (new Set(asked).size < asked.length) faults.push(TWO_ASK);
      if (state.calls.filter((call) => call === 'holds').length > permits) faults.push(TOO_MANY);
      return faults;
    },
    isGoal: (state) => state.calls.every((call) => call !== 'to come' && call !== 'waits'),
  };
}
