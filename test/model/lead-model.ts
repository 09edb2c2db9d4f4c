import type { Model, Step } from './explore.ts';

/**
 * A loop that leads otherwise, with a fault:
 * - `campaigns without waiting`: after a loss, the candidate campaigns again while its work still runs.
 * - `releases first`: at a stop, the candidate releases, and then waits for its work.
 * - `outlives the work`: the candidate leads on when its work has returned.
 */
type LeadMutant = 'campaigns without waiting' | 'releases first' | 'outlives the work';

export interface LeadBounds {
  readonly candidates: number;
  /** The terms of each candidate. */
  readonly terms: number;
  readonly mutant?: LeadMutant;
  /** The number of times that each of these may happen. Default: 1. */
  readonly failures?: number;
  readonly stops?: number;
  readonly losses?: number;
  readonly deaths?: number;
  readonly resignations?: number;
}

interface Work {
  isOn: boolean;
  /** True once the work was told to stop. */
  told: boolean;
  /** True if the work has not obeyed by the time at which the lease opens. */
  isLate: boolean;
}

interface Candidate {
  phase: 'campaigns' | 'leads' | 'settles' | 'over' | 'dead';
  believes: boolean;
  terms: number;
  works: Work[];
  isStopped: boolean;
  rests: boolean;
}

/** The lease is proven elsewhere: a place with one holder, which opens when its holder no longer renews. */
export interface Lead {
  holder: number | undefined;
  isOpen: boolean;
  readonly candidates: Candidate[];
  readonly left: { failures: number; stops: number; losses: number; deaths: number; resignations: number };
}

const NAMES = 'ABC';
const runs = ({ works }: Candidate): Work[] => works.filter(({ isOn }) => isOn);

/** A model of candidates for one lead. */
export function lead(bounds: LeadBounds): Model<Lead> {
  const { failures = 1, stops = 1, losses = 1, deaths = 1, resignations = 1 } = bounds;
  return {
    first: () => ({
      holder: undefined,
      isOpen: true,
      candidates: Array.from({ length: bounds.candidates }, () => ({
        phase: 'campaigns',
        believes: false,
        terms: 0,
        works: [],
        isStopped: false,
        rests: false,
      })),
      left: { failures, stops, losses, deaths, resignations },
    }),
    idOf: (state) => JSON.stringify(state),
    faultsIn({ candidates }) {
      // A work that obeys counts until it has stopped.
      const inTime = candidates
        .flatMap((each) => (each.phase === 'dead' ? [] : runs(each)))
        .filter((work) => !work.isLate);
      return [
        ...(candidates.some((each) => runs(each).length > 1) ? ['two works in one process'] : []),
        ...(inTime.length > 1 ? ['two works at once'] : []),
      ];
    },
    isGoal: ({ candidates }) =>
      candidates.some(({ phase, works }) => phase === 'leads' && works.at(-1)?.isOn) ||
      candidates.every(({ phase, terms }) => phase === 'dead' || phase === 'over' || terms >= bounds.terms),
    *steps(state) {
      for (const me of state.candidates.keys()) yield* stepsOf(state, me, bounds);
      yield* expires(state);
    },
  };
}

function* stepsOf(state: Lead, me: number, bounds: LeadBounds): Generator<Step<Lead>> {
  const { phase, works } = state.candidates[me] as Candidate;
  const name = NAMES[me];
  if (phase === 'dead' || phase === 'over') return;
  if (phase === 'campaigns') {
    if (state.candidates[me]?.isStopped) {
      yield step(state, me, `${name} ends its campaign`, (_, mine) => {
        mine.phase = 'over';
      });
      return;
    }
    yield* campaigns(state, me, bounds.terms);
  }
  if (phase === 'leads') yield* leads(state, me, bounds.mutant);
  if (phase === 'settles' && works.every(({ isOn }) => !isOn)) {
    yield step(state, me, `${name} campaigns again`, (_, mine) => {
      mine.phase = 'campaigns';
    });
  }
  for (const [place, { isOn, told }] of works.entries()) {
    if (isOn && told && phase !== 'leads') yield step(state, me, `the work of ${name} stops as told`, endWork(place));
  }
  if (phase === 'campaigns' && state.left.stops > 0) {
    yield step(state, me, `${name} is stopped`, (next, mine) => {
      next.left.stops--;
      mine.isStopped = true;
    });
  }
  if (state.left.deaths > 0) {
    yield step(state, me, `${name} dies`, (next, mine) => {
      next.left.deaths--;
      Object.assign(mine, { phase: 'dead', believes: false, works: [] });
    });
  }
}

function* campaigns(state: Lead, me: number, terms: number): Generator<Step<Lead>> {
  const { rests, terms: had } = state.candidates[me] as Candidate;
  if (rests) {
    yield step(state, me, `${NAMES[me]} has rested`, (_, mine) => {
      mine.rests = false;
    });
  } else if (state.isOpen && had < terms) {
    yield step(state, me, `${NAMES[me]} is elected`, (next, mine) => {
      Object.assign(next, { holder: me, isOpen: false });
      Object.assign(mine, { phase: 'leads', believes: true, terms: had + 1 });
      mine.works.push({ isOn: true, told: false, isLate: false });
    });
  }
}

function* leads(state: Lead, me: number, mutant: LeadMutant | undefined): Generator<Step<Lead>> {
  const { works, believes, isStopped } = state.candidates[me] as Candidate;
  const { left } = state;
  const name = NAMES[me];
  const last = works.length - 1;
  const { isOn, told } = works[last] as Work;
  if (isOn) {
    yield step(state, me, `the work of ${name} returns`, endWork(last));
    if (left.failures > 0 && !told) {
      yield step(state, me, `the work of ${name} fails`, (next, mine) => {
        next.left.failures--;
        endWork(last)(next, mine);
      });
    }
  } else if (mutant !== 'outlives the work') {
    yield step(state, me, `${name} releases after its work`, (next, mine) => {
      release(next, me);
      Object.assign(mine, { believes: false, phase: 'campaigns', rests: true });
    });
  }
  if (believes && left.losses > 0) {
    yield step(state, me, `${name} loses its lease, and its work is told before the expiry`, (next, mine) => {
      next.left.losses--;
      tell(mine);
      const phase = mutant === 'campaigns without waiting' ? 'campaigns' : 'settles';
      Object.assign(mine, { believes: false, phase, rests: true });
    });
  }
  if (left.stops > 0 && !isStopped) {
    yield step(state, me, `${name} is stopped, and its work is told`, (next, mine) => {
      next.left.stops--;
      mine.isStopped = true;
      tell(mine);
      if (mutant !== 'releases first') return;
      release(next, me);
      Object.assign(mine, { believes: false, phase: 'settles' });
    });
  }
  if (left.resignations > 0 && !isStopped) {
    yield step(state, me, `${name} resigns, and its work is told`, (next, mine) => {
      next.left.resignations--;
      tell(mine);
    });
  }
}

/** The lease of a holder that no longer believes opens. Work that obeys has stopped by then; other work is late. */
function* expires(state: Lead): Generator<Step<Lead>> {
  const { holder, isOpen } = state;
  if (holder === undefined || isOpen || state.candidates[holder]?.believes) return;
  yield step(state, holder, 'the lease expires', (next, mine) => {
    for (const work of mine.works) if (work.isOn && work.told) work.isLate = true;
    Object.assign(next, { holder: undefined, isOpen: true });
  });
}

const endWork = (place: number) => (_: Lead, mine: Candidate) => {
  (mine.works[place] as Work).isOn = false;
};

const tell = (mine: Candidate): void => {
  (mine.works.at(-1) as Work).told = true;
};

function release(next: Lead, me: number): void {
  if (next.holder === me) Object.assign(next, { holder: undefined, isOpen: true });
}

function step(state: Lead, me: number, text: string, change: (next: Lead, mine: Candidate) => void): Step<Lead> {
  const next: Lead = {
    holder: state.holder,
    isOpen: state.isOpen,
    candidates: state.candidates.map((each) => ({ ...each, works: each.works.map((work) => ({ ...work })) })),
    left: { ...state.left },
  };
  change(next, next.candidates[me] as Candidate);
  return [text, next];
}
