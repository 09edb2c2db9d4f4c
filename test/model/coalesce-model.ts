// A model of coalescing: each owner has one event, and calls `coalesce` for it. The record is judged by
// lib/record/transitions.ts itself. A request may be lost, sent twice, arrive late and be given up; an owner may crash, fail,
// or lose its lease.
import type { LockRecord } from '../../lib/record/record.ts';
import * as protocol from '../../lib/record/transitions.ts';
import type { Model, Step } from './explore.ts';

/** The happenings that an exploration allows. */
export interface Bounds {
  /** The owners, who have one event each. */
  readonly events: number;
  /** The owners, of these, whose lease does not coalesce. 0 by default. */
  readonly plain?: number;
  /** Requests that arrive twice, or whose answer is lost. */
  readonly repeats?: number;
  /** Requests that their owner gives up. */
  readonly givenUp?: number;
  readonly crashes?: number;
  /** Leases that expire under their holder. */
  readonly expiries?: number;
  /** Runs that fail. */
  readonly failures?: number;
  /** The most attempts of an owner to acquire. */
  readonly tries?: number;
}

/** A fault to plant: another write of the server's, or another conclusion of an owner's. */
export interface Fault {
  /** The server's writes in the place of the protocol's. */
  readonly writes?: Partial<Writes>;
  /** A holder runs again without writing `serving` first. */
  readonly runsUnwritten?: boolean;
  /** An owner takes the late grant of an attempt of its own for another holder's. */
  readonly ownUnseen?: boolean;
  /** An owner believes a plain grant to run for its event. */
  readonly coveredByPlain?: boolean;
}

export const writes = {
  acquire: protocol.acquire,
  ask: protocol.ask,
  turn: protocol.turn,
  release: protocol.release,
} as const;
type Writes = typeof writes;
type Kind = keyof Writes;

export const FAULTS = {
  twoRun: 'two runs at a time',
  releasedRunning: 'released while it runs',
  lostTrace: 'covered, and lost without a trace',
  neverRun: 'covered, and never run',
  stuck: 'an owner waits for ever',
} as const;

/** The expiry of a lease that stands. The moments of grants and expiries are counted from 1. */
const STANDS = 99;
const KEY = 'k';
const NAMES = ['A', 'B', 'C', 'D'];

type Phase = 'new' | 'acquiring' | 'asking' | 'running' | 'releasing' | 'turning' | 'ended' | 'failed' | 'dead';

interface Owner {
  readonly phase: Phase;
  readonly attempt: number;
  readonly lockId: string;
  /** The value of `asked` up to which the run serves. */
  readonly level: number;
  /** The events that had happened when the run began: a bit for each. */
  readonly seesEvents: number;
  /** The grant that the owner asks. */
  readonly seen: string;
  readonly runs: number;
  readonly isLost: boolean;
}

interface Message {
  readonly owner: number;
  readonly kind: Kind;
  // biome-ignore lint/suspicious/noExplicitAny: each kind has a request of its own.
  readonly request: any;
  readonly text: string;
}

interface State {
  record: LockRecord | undefined;
  owners: Owner[];
  messages: Message[];
  now: number;
  /** The events that have happened, that a successful run has seen, and whose owners are covered: a bit for each. */
  happened: number;
  done: number;
  covered: number;
  left: Required<Pick<Bounds, 'repeats' | 'givenUp' | 'crashes' | 'expiries' | 'failures'>>;
}

const NEW: Owner = { phase: 'new', attempt: 0, lockId: '', level: 0, seesEvents: 0, seen: '', runs: 0, isLost: false };
const ownerOf = (lockId: string): number => NAMES.indexOf(lockId[0] as string);
const isOver = ({ phase }: Owner): boolean => phase === 'ended' || phase === 'failed' || phase === 'dead';

export function coalescing(bounds: Bounds, fault: Fault = {}): Model<State> {
  const { events, plain = 0, tries = 2 } = bounds;
  const { repeats = 0, givenUp = 0, crashes = 0, expiries = 0, failures = 0 } = bounds;
  const allowed = { repeats, givenUp, crashes, expiries, failures };
  const server: Writes = { ...writes, ...fault.writes };
  const isPlain = (owner: number): boolean => owner < plain;

  const first = (): State => ({
    record: undefined,
    owners: Array.from({ length: events }, () => NEW),
    messages: [],
    now: 0,
    happened: 0,
    done: 0,
    covered: 0,
    left: allowed,
  });

  const change = (state: State, owner: number, changed: Partial<Owner>): void => {
    state.owners[owner] = { ...(state.owners[owner] as Owner), ...changed };
  };
  const send = (state: State, owner: number, kind: Kind, request: object, text: string): void => {
    state.messages.push({ owner, kind, request: { key: KEY, ...request }, text: `${NAMES[owner]}'s ${text}` });
  };

  /** Begins an attempt. An owner that has none left fails. */
  function acquire(state: State, owner: number): void {
    const attempt = (state.owners[owner] as Owner).attempt + 1;
    const lockId = `${NAMES[owner]}${attempt}`;
    if (attempt > tries) change(state, owner, { phase: 'failed' });
    else {
      change(state, owner, { phase: 'acquiring', attempt, lockId });
      const now = ++state.now;
      const coalesce = isPlain(owner) ? undefined : 'always';
      const name = { lockId, owner: '', coalesce };
      send(state, owner, 'acquire', { ...name, now, until: STANDS, leaseMs: STANDS }, `acquire (attempt ${attempt})`);
    }
  }

  const discard = (state: State, owner: number, lockId: string): void =>
    send(state, owner, 'release', { lockId, now: 0, holdAtLeastMs: 0 }, `release of ${lockId}, not served`);

  const run = (state: State, owner: number, level: number): void =>
    change(state, owner, {
      phase: 'running',
      level,
      seesEvents: state.happened,
      runs: (state.owners[owner] as Owner).runs + 1,
    });

  /** The server judges a request. Tells the faults of the write. */
  function judge(state: State, { kind, request }: Message): { applied: boolean; faults: string[] } {
    const next = (server[kind] as (record: LockRecord | undefined, request: unknown) => LockRecord | undefined)(
      state.record,
      request,
    );
    if (next === undefined) return { applied: false, faults: [] };
    const holder = state.owners[ownerOf(request.lockId ?? 'A')];
    const runs = holder?.lockId === request.lockId && holder?.phase === 'running' && !holder.isLost;
    state.record = next;
    return { applied: true, faults: kind === 'release' && runs ? [FAULTS.releasedRunning] : [] };
  }

  /** The owner gets the answer to a request. An owner that no longer waits for the answer ignores it. */
  function answer(state: State, message: Message, applied: boolean): void {
    const { owner, kind, request } = message;
    const { phase, lockId, level, seen } = state.owners[owner] as Owner;
    if (kind === 'acquire' && phase === 'acquiring' && lockId === request.lockId) acquired(state, owner);
    else if (kind === 'ask' && phase === 'asking' && request.seen === seen) asked(state, owner);
    else if (kind === 'turn' && phase === 'turning') turned(state, owner, request.serving);
    else if (kind === 'release' && phase === 'releasing' && request.served === level) released(state, owner, applied);
  }

  function turned(state: State, owner: number, level: number): void {
    const { lockId } = state.owners[owner] as Owner;
    const { lockId: standing, serving = 0 } = state.record as LockRecord;
    if (standing === lockId && serving >= level) run(state, owner, serving);
    else change(state, owner, { phase: 'ended' });
  }

  function released(state: State, owner: number, applied: boolean): void {
    const { lockId, level } = state.owners[owner] as Owner;
    const { lockId: standing, asked = 0, serving: stood } = state.record as LockRecord;
    const serving = Math.max(asked, level);
    if (applied || standing !== lockId) change(state, owner, { phase: 'ended' });
    else if (fault.runsUnwritten) run(state, owner, asked);
    else if (asked > level || stood !== level) {
      change(state, owner, { phase: 'turning' });
      send(state, owner, 'turn', { lockId, serving }, `turn to ${serving}`);
    }
  }

  function acquired(state: State, owner: number): void {
    const { lockId } = state.owners[owner] as Owner;
    const record = state.record as LockRecord;
    const { serving, asked = 0, lockId: seen } = record;
    if (seen === lockId) run(state, owner, serving ?? 0);
    else if (isPlain(owner) || isGone(record) || isOwn(state, owner)) acquire(state, owner);
    else if (serving === undefined) change(state, owner, { phase: 'failed' });
    else if (asked > serving) cover(state, owner);
    else {
      change(state, owner, { phase: 'asking', seen: seen as string, level: serving });
      send(state, owner, 'ask', { seen, serving }, `ask (${seen}, serving ${serving})`);
    }
  }

  function asked(state: State, owner: number): void {
    const record = state.record as LockRecord;
    if (isOwn(state, owner) || isGone(record)) acquire(state, owner);
    else if (record.serving === undefined && !fault.coveredByPlain) change(state, owner, { phase: 'failed' });
    else cover(state, owner);
  }

  const isGone = (record: LockRecord): boolean => record.lockId === undefined || record.expiresAt < STANDS;

  /** Discards an earlier attempt of the owner that was granted late. */
  function isOwn(state: State, owner: number): boolean {
    const { lockId } = state.record as LockRecord;
    if (lockId === undefined || ownerOf(lockId) !== owner || fault.ownUnseen) return false;
    discard(state, owner, lockId);
    return true;
  }

  function cover(state: State, owner: number): void {
    change(state, owner, { phase: 'ended' });
    state.covered |= 1 << owner;
  }

  /** The steps of one owner, apart from the answers that it gets. */
  function* ownSteps(state: State, owner: number): Iterable<Step<State>> {
    const { phase, lockId, level, seesEvents } = state.owners[owner] as Owner;
    const name = NAMES[owner];
    const { left } = state;
    if (phase === 'new') {
      yield step(state, `${name} has an event, and acquires`, (next) => {
        if (!isPlain(owner)) next.happened |= 1 << owner;
        acquire(next, owner);
      });
    }
    if (phase === 'running') {
      yield step(state, `${name}'s run succeeds`, (next) => {
        change(next, owner, { phase: isPlain(owner) ? 'ended' : 'releasing' });
        if (isPlain(owner)) discard(next, owner, lockId);
        else {
          next.done |= seesEvents;
          const release = { lockId, now: 0, holdAtLeastMs: 0, served: level };
          send(next, owner, 'release', release, `release (served ${level})`);
        }
      });
      if (left.failures) {
        yield step(state, `${name}'s run fails`, (next) => {
          next.left = { ...left, failures: left.failures - 1 };
          change(next, owner, { phase: 'failed' });
          discard(next, owner, lockId);
        });
      }
    }
    if (left.givenUp && ['acquiring', 'turning', 'asking', 'releasing'].includes(phase)) {
      yield step(state, `${name} gives up its request (${phase})`, (next) => {
        next.left = { ...left, givenUp: left.givenUp - 1 };
        change(next, owner, { phase: phase === 'releasing' ? 'ended' : 'failed' });
        if (phase === 'acquiring' || phase === 'turning') discard(next, owner, lockId);
      });
    }
    if (left.crashes && ['acquiring', 'running', 'releasing', 'turning'].includes(phase)) {
      yield step(state, `${name} crashes`, (next) => {
        next.left = { ...left, crashes: left.crashes - 1 };
        change(next, owner, { phase: 'dead' });
      });
    }
  }

  function* expirySteps(state: State): Iterable<Step<State>> {
    const { record, left } = state;
    if (record?.lockId === undefined || record.expiresAt < STANDS) return;
    const owner = ownerOf(record.lockId);
    const isDead = (state.owners[owner] as Owner).phase === 'dead';
    if (!isDead && !left.expiries) return;
    yield step(state, `the lease ${record.lockId} expires`, (next) => {
      if (!isDead) next.left = { ...left, expiries: left.expiries - 1 };
      next.record = { ...record, expiresAt: ++next.now };
      change(next, owner, { isLost: true });
    });
  }

  function* deliveries(state: State): Iterable<Step<State>> {
    const { left } = state;
    const seen = new Set<string>();
    for (const [index, message] of state.messages.entries()) {
      const id = textOf(message);
      if (seen.has(id)) continue;
      seen.add(id);
      const repeat = (next: State) => {
        next.left = { ...left, repeats: left.repeats - 1 };
      };
      yield step(state, `${message.text} arrives`, (next) => {
        next.messages.splice(index, 1);
        const { applied, faults } = judge(next, message);
        answer(next, message, applied);
        return faults;
      });
      if (left.repeats === 0) continue;
      yield step(state, `${message.text} arrives, and will arrive again`, (next) => {
        repeat(next);
        const { applied, faults } = judge(next, message);
        answer(next, message, applied);
        return faults;
      });
      yield step(state, `${message.text} arrives, its answer is lost, and it is sent again`, (next) => {
        repeat(next);
        return judge(next, message).faults;
      });
    }
  }

  return {
    first,
    *steps(state) {
      for (let owner = 0; owner < events; owner++) yield* ownSteps(state, owner);
      yield* expirySteps(state);
      yield* deliveries(state);
    },
    idOf,
    faultsIn: (state) => faultsIn(state, allowed),
  };
}

function step(state: State, text: string, act: (next: State) => string[] | undefined): Step<State> {
  const next = { ...state, owners: [...state.owners], messages: [...state.messages] };
  return [text, next, act(next) ?? []];
}

const textOf = ({ text, request }: Message): string => `${text}@${request.now ?? ''}`;

/** The token and what a grant replaced decide nothing here. */
function idOf({ record: r, owners, messages, now, happened, done, covered, left }: State): string {
  const record = r && [r.lockId, r.expiresAt, r.acquiredAt, r.releasedBy, r.asked, r.serving, r.served].join();
  const each = owners.map(
    (o) => `${o.phase}${o.attempt},${o.level},${o.seesEvents},${o.seen},${o.runs},${o.isLost ? 1 : 0}`,
  );
  const { repeats, givenUp, crashes, expiries, failures } = left;
  const counts = [now, happened, done, covered, repeats, givenUp, crashes, expiries, failures].join();
  return [record, ...each, ...messages.map(textOf).sort(), counts].join(';');
}

function faultsIn({ record, owners, messages, done, covered, left }: State, allowed: State['left']): string[] {
  const faults: string[] = [];
  if (owners.filter(({ phase, isLost }) => phase === 'running' && !isLost).length > 1) faults.push(FAULTS.twoRun);
  const missing = covered & ~done;
  const isOwed = (record?.asked ?? 0) > (record?.served ?? 0);
  if (missing && !isOwed) faults.push(FAULTS.lostTrace);
  const isQuiet = messages.length === 0 && owners.every(isOver);
  // Nobody crashed, failed, gave up or lost a lease: then nobody has an excuse.
  const noExcuse = Object.entries({ ...left, repeats: 0 }).every(
    ([name, count]) => name === 'repeats' || count === allowed[name as keyof State['left']],
  );
  const nobodyFailed = owners.every(({ phase }) => phase !== 'failed');
  if (isQuiet && missing && noExcuse && nobodyFailed && record?.lockId === undefined) faults.push(FAULTS.neverRun);
  if (
    messages.length === 0 &&
    owners.some(({ phase }) => ['acquiring', 'asking', 'releasing', 'turning'].includes(phase))
  ) {
    faults.push(FAULTS.stuck);
  }
  return faults;
}
