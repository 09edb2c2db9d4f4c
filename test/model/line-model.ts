// The line of one client: its calls wait for one key, and only the first asks the store (lib/lease/line.ts).
import type { Model, Step } from './explore.ts';

/** The state of a call. */
type Call = 'to come' | 'waits' | 'holds' | 'has held' | 'gave up';

/** The state of the lock, of the line and of its calls. Calls are numbers from 0. */
interface LineState {
  /** The holder, as the record has it: a call, or another process. */
  readonly holder: number | 'nobody' | 'another process';
  /** The call whose lease this client believes in. */
  readonly lease: number | undefined;
  /** The calls in the line, the first first. */
  readonly line: readonly number[];
  readonly calls: readonly Call[];
  /** The work of the first call: a write is out, or a pause goes on before the next look. */
  readonly first: 'nothing' | 'writes' | 'pauses';
  /** The number of times that another process still takes the lock. */
  readonly takings: number;
  /** The number of leases that are still lost. */
  readonly losses: number;
}

interface Line {
  readonly calls: number;
  readonly takings?: number;
  readonly losses?: number;
  /** A way in which the first of the line is not woken. */
  readonly mutant?: 'giving up' | 'release' | 'loss';
}

export const NOBODY_ASKS = 'nobody asks for those who wait';
const TWO_HOLD = 'two calls hold';

const update = (calls: readonly Call[], at: number, call: Call): Call[] => calls.with(at, call);

/** The first of the line begins to ask, if nobody of this client holds the lock and the first does not ask yet. */
const wake = (state: LineState): LineState =>
  state.first === 'nothing' && state.line.length > 0 && state.lease === undefined
    ? { ...state, first: 'writes' }
    : state;

/** Makes the model of a line. */
export function lineModel({ calls, takings = 2, losses = 1, mutant }: Line): Model<LineState> {
  const unless = (forgotten: Line['mutant'], state: LineState) => (mutant === forgotten ? state : wake(state));

  function* stepsOfCall(state: LineState, call: number): Iterable<Step<LineState>> {
    const becomes = (next: Call) => update(state.calls, call, next);
    if (state.calls[call] === 'to come') {
      yield [`${call} comes`, wake({ ...state, calls: becomes('waits'), line: [...state.line, call] })];
    }
    if (state.calls[call] === 'waits') {
      const line = state.line.filter((other) => other !== call);
      const left = { ...state, calls: becomes('gave up'), line };
      yield [
        `${call} gives up`,
        state.line[0] === call ? unless('giving up', { ...left, first: 'nothing' as const }) : left,
      ];
    }
    if (state.calls[call] !== 'holds') return;
    const ended = { ...state, calls: becomes('has held'), lease: undefined };
    yield [`${call} releases`, unless('release', { ...ended, holder: 'nobody' as const })];
    if (state.losses === 0) return;
    const taken = { ...ended, holder: 'another process' as const, losses: state.losses - 1 };
    yield [`${call} loses its lease to another process`, unless('loss', taken)];
  }

  function* stepsOfFirst(state: LineState): Iterable<Step<LineState>> {
    const [first = 0, ...line] = state.line;
    if (state.first === 'pauses') {
      yield [`${first} looks`, { ...state, first: state.holder === 'nobody' ? 'writes' : 'pauses' }];
    }
    if (state.first !== 'writes') return;
    if (state.holder !== 'nobody') {
      yield [`${first} writes and is refused`, { ...state, first: 'pauses' }];
      return;
    }
    const holds = update(state.calls, first, 'holds');
    yield [
      `${first} writes and is granted`,
      { ...state, line, calls: holds, holder: first, lease: first, first: 'nothing' },
    ];
  }

  function* stepsOfOthers(state: LineState): Iterable<Step<LineState>> {
    if (state.holder === 'another process') yield ['another process releases', { ...state, holder: 'nobody' }];
    if (state.holder === 'nobody' && state.takings > 0) {
      yield ['another process takes the lock', { ...state, holder: 'another process', takings: state.takings - 1 }];
    }
  }

  return {
    first: () => ({
      holder: 'nobody',
      lease: undefined,
      line: [],
      calls: Array<Call>(calls).fill('to come'),
      first: 'nothing',
      takings,
      losses,
    }),
    *steps(state) {
      for (let call = 0; call < calls; call++) yield* stepsOfCall(state, call);
      yield* stepsOfFirst(state);
      yield* stepsOfOthers(state);
    },
    idOf: (state) => JSON.stringify(state),
    faultsIn({ line, first, lease, calls }) {
      const faults: string[] = [];
      if (line.length > 0 && first === 'nothing' && lease === undefined) faults.push(NOBODY_ASKS);
      if (calls.filter((call) => call === 'holds').length > 1) faults.push(TWO_HOLD);
      return faults;
    },
    isGoal: (state) => state.calls.every((call) => call !== 'to come' && call !== 'waits'),
  };
}
