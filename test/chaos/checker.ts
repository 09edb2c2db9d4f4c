/**
 * Judges a history: was there one holder at a time, was every holder told in time, and was nothing lost?
 *
 * The checker trusts no deadline that a process computed. A process may believe for `leaseMs - safetyMs` from the sending
 * of its request, by the reference clock (invariant 4).
 */
import { committedCounterLosesNothing, tokensGrowFromGrantToGrant } from './client-checks.ts';
import type { Entry, EntryOf, Kept } from './history.ts';

export interface Finding {
  /** The fault in a sentence. */
  readonly text: string;
  /** The slice of the history that shows the fault: a key, or all keys, and a stretch of reference time. */
  readonly key?: string | undefined;
  readonly from: number;
  readonly to: number;
}

export interface Check {
  readonly name: string;
  /** The number of cases that the check judged. With 0, the check proves nothing. */
  readonly examined: number;
  readonly findings: readonly Finding[];
}

/** The tolerance for moments that are rounded to milliseconds. */
const ROUNDING_MS = 2;
/**
 * A process that is free of stalls for this time has run its timers: it ticks every 20 ms, and reports a stall from 40
 * ms.
 */
const SURELY_RAN_MS = 60;
/** The tolerance between two readings of a clock that was not set between them. */
const UNSET_MS = 5;
/** A wrong clock is corrected by up to a second too much. So its lock may stay closed for a second more. */
const CORRECTION_MS = 1_000;
/** The time for which a lock may stay closed after it should have opened, while a process asks for the lock. */
const ORPHAN_MS = 3_000;

/** True if the server of the locks has written its own lines. */
export const isRecorded = (history: readonly Entry[]): boolean =>
  !history.some((entry) => entry.type === 'place' && !entry.isRecorded);

/** The checks that need the server's own lines. */
export const SERVER_CHECKS = [
  'a repeated request grants nothing again (3)',
  'nobody renews, releases or gives back what is not theirs (9)',
  'what is called done has finished, and stays done',
  'a fenced resource accepts no lower token',
  'no lease is left without an owner longer than its expiry',
];

/** Judges a history. The entries are in the order of the reference clock. */
export function check(history: readonly Entry[]): Check[] {
  const beliefs = beliefsOf(history);
  const served = byKey(history.filter((entry) => entry.type === 'served'));
  if (!isRecorded(history)) return checkClients(history, beliefs);
  return [
    oneHolder(history, beliefs),
    tokensOnlyGrow(served),
    grantedOnce(served),
    clockStartsBeforeTheRequest(beliefs),
    noBeliefBeyondTheDeadline(beliefs),
    toldInTime(history, beliefs),
    lostIsFinal(beliefs),
    nobodyTouchesWhatIsNotTheirs(served),
    nothingReleasedUnderWork(beliefs),
    oneResumeOfAHandle(history, served),
    noTokenTwice(history, served),
    doneIsFinished(history, served),
    fencedResourceKeepsOrder(history),
    guardedCounterLosesNothing(history),
    noLeaseWithoutOwner(history, served),
    everyTaskDone(history),
    processesEndWhenTold(history),
  ];
}

/** Judges a history without lines of a server. A grant then begins when its holder knows of it. */
function checkClients(history: readonly Entry[], beliefs: readonly Belief[]): Check[] {
  const none: Served = new Map();
  return [
    oneHolder(history, beliefs),
    tokensGrowFromGrantToGrant(history),
    clockStartsBeforeTheRequest(beliefs),
    noBeliefBeyondTheDeadline(beliefs),
    toldInTime(history, beliefs),
    lostIsFinal(beliefs),
    nothingReleasedUnderWork(beliefs),
    oneResumeOfAHandle(history, none),
    noTokenTwice(history, none),
    committedCounterLosesNothing(history),
    everyTaskDone(history),
    processesEndWhenTold(history),
  ];
}

/** A grant and its terms so far. */
interface Granted {
  readonly grant: EntryOf<'granted'>;
  readonly terms: readonly Term[];
}

interface Term {
  readonly sent: EntryOf<'sent'>;
  readonly claim: EntryOf<'granted'> | EntryOf<'renewed'>;
}

/** The belief of a holder in its grant. */
interface Belief {
  readonly grant: EntryOf<'granted'>;
  /** The grant and its renewals, each with its sending. */
  readonly terms: Term[];
  readonly work: EntryOf<'work'>[];
  /** Each sending of a renewal, with the terms before the sending. */
  readonly tries: { readonly sent: EntryOf<'sent'>; readonly terms: readonly Term[] }[];
  /** The entry by which the holder ended the lease, or learned of its end. */
  end: EntryOf<'lost'> | EntryOf<'releasing'> | EntryOf<'handedOff'> | undefined;
  released: EntryOf<'released'> | undefined;
  /** A release that was sent before `end`. */
  early: EntryOf<'sent'> | undefined;
  /** The moment at which its process was killed. */
  killedAt: number;
}

/** The beliefs of all processes, in the order of the grants. */
function beliefsOf(history: readonly Entry[]): Belief[] {
  const beliefs = new Map<string, Belief>();
  const granted = new Map<string, Belief>();
  const sendings: Sendings = new Map();
  for (const entry of history) {
    if (entry.type === 'sent') noteSending(entry, sendings, granted.get(entry.lockId));
    else if (entry.type === 'granted') {
      const belief = beliefOf(entry, sendings);
      beliefs.set(grantName(entry), belief);
      granted.set(entry.lockId, belief);
    } else if ('fencingToken' in entry) follow(beliefs.get(grantName(entry)), entry, sendings);
  }
  const killedAt = new Map(
    history.flatMap((entry) =>
      entry.type === 'killed' || entry.type === 'crashed' ? [[entry.process, entry.at]] : [],
    ),
  );
  for (const belief of beliefs.values()) belief.killedAt = killedAt.get(belief.grant.by) ?? belief.killedAt;
  return [...beliefs.values()];
}

function beliefOf(grant: EntryOf<'granted'>, sendings: Sendings): Belief {
  const terms = [{ sent: sendingOf(grant.lockId, grant, sendings), claim: grant }];
  return {
    grant,
    terms,
    work: [],
    tries: [],
    end: undefined,
    released: undefined,
    early: undefined,
    killedAt: Infinity,
  };
}

function follow(belief: Belief | undefined, entry: Entry, sendings: Sendings): void {
  if (!belief) return;
  if (entry.type === 'work') belief.work.push(entry);
  if (entry.type === 'released') belief.released = entry;
  if (entry.type === 'lost' || entry.type === 'releasing' || entry.type === 'handedOff') belief.end ??= entry;
  if (entry.type !== 'renewed') return;
  belief.terms.push({ sent: sendingOf(belief.grant.lockId, entry, sendings), claim: entry });
}

/** The first sending of the last request of each `lockId`. */
type Sendings = Map<string, EntryOf<'sent'>>;

/** Notes a sending. The clock of a request that is sent again counts from the first sending. */
function noteSending(sent: EntryOf<'sent'>, sendings: Sendings, belief: Belief | undefined): void {
  if (sent.what === 'release' && belief && !belief.end) belief.early ??= sent;
  if (sent.what === 'renew') belief?.tries.push({ sent, terms: [...belief.terms] });
  const before = sendings.get(sent.lockId);
  if (before?.what !== sent.what || before.until !== sent.until) sendings.set(sent.lockId, sent);
}

/** Takes the sending of a grant or a renewal. An answer ends the request, so the next sending starts a new request. */
function sendingOf(lockId: string, claim: Entry, sendings: Sendings): EntryOf<'sent'> {
  const sent = sendings.get(lockId);
  if (!sent) throw new Error(`Expected a sending before ${JSON.stringify(claim)}`);
  sendings.delete(lockId);
  return sent;
}

const grantName = ({ by, key, fencingToken }: { by: string; key: string; fencingToken: number }): string =>
  `${by} ${key} ${fencingToken}`;
/**
 * The deadline of a grant. The history knows the turn of the event loop in which a request was sent, but not the moment.
 * The turn is short unless the process was stalled in it. With `since`, the deadline counts from the beginning of the
 * turn; with `at`, it counts from the end. The true deadline lies between the two.
 */
function deadlineOf({ grant, terms }: Granted, moment: 'since' | 'at'): number {
  const [first = Number.NaN, ...renewals] = terms.map(({ sent }) => sent[moment]);
  const { leaseMs, safetyMs, atMostMs = Number.POSITIVE_INFINITY } = grant;
  return Math.min(Math.max(first, ...renewals) + leaseMs - safetyMs, first + atMostMs);
}

/** The moment until which the holder certainly believed. */
const believedUntil = (belief: Belief): number =>
  Math.min(belief.end?.at ?? Number.POSITIVE_INFINITY, belief.killedAt, deadlineOf(belief, 'since'));

/** Invariant 1. A grant begins when the server makes the grant, before its holder knows. */
function oneHolder(history: readonly Entry[], beliefs: readonly Belief[]): Check {
  const madeAt = new Map<string, number>();
  for (const entry of history) {
    if (entry.type !== 'served' || !entry.applied) continue;
    if (entry.what === 'acquire' || entry.what === 'resume') madeAt.set(entry.lockId, entry.at);
  }
  const findings: Finding[] = [];
  let examined = 0;
  for (const ofKey of byKey(beliefs.map((belief) => ({ ...belief, key: belief.grant.key }))).values()) {
    const spans = ofKey
      .map(({ grant, ...belief }) => ({
        grant,
        from: Math.min(madeAt.get(grant.lockId) ?? grant.at, grant.at),
        until: believedUntil({ grant, ...belief }),
      }))
      .sort((a, b) => a.from - b.from);
    let longest = spans[0];
    for (const span of spans.slice(1)) {
      examined++;
      if (longest && span.from < longest.until) {
        const { grant } = longest;
        const text = `${span.grant.by} was granted ${grant.key} ${ms(longest.until - span.from)} before ${grant.by}, with the token ${grant.fencingToken}, had ceased to believe that it holds it`;
        findings.push({ text, key: grant.key, from: longest.from, to: Math.max(longest.until, span.grant.at) });
      }
      if (!longest || span.until > longest.until) longest = span;
    }
  }
  return { name: 'one holder: no grant before the deadline of the one before (1)', examined, findings };
}

/** Invariant 2: the tokens of a key only grow. */
function tokensOnlyGrow(served: Served): Check {
  return judgeRecords('tokens only grow (2)', served, ({ lockId, key, at, by }, record, before) => {
    const isGrant = record.lockId === lockId && before?.lockId !== lockId;
    const highest = before?.fencingToken ?? 0;
    const grows = isGrant ? record.fencingToken > highest : record.fencingToken >= highest;
    const text = `${by}: ${key} has the token ${record.fencingToken}, after ${highest}`;
    return grows ? undefined : { text, key, from: at - 500, to: at + 500 };
  });
}

/**
 * Invariant 3: a request that is delivered again or late revives no grant. A grant that was given back is an exception. A
 * late request of its wrong clock may be granted over a holder. That holder loses the lock, but is told in time.
 */
function grantedOnce(served: Served): Check {
  const granted = new Set<string>();
  const givenBack = givenBackIn(served);
  return judgeRecords('a repeated request grants nothing again (3)', served, (entry, record, before) => {
    const { lockId, key, at, what } = entry;
    if (what !== 'acquire' || record.lockId !== lockId || before?.lockId === lockId) return undefined;
    if (!granted.has(lockId) || givenBack.has(lockId)) {
      granted.add(lockId);
      return undefined;
    }
    const text = `${key} was granted to ${entry.owner} a second time by one and the same attempt`;
    return { text, key, from: at - 2_000, to: at + 500 };
  });
}

const givenBackIn = (served: Served): Set<string> =>
  new Set(
    [...served.values()]
      .flat()
      .flatMap(({ what, applied, lockId }) => (what === 'giveBack' && applied ? [lockId] : [])),
  );

/** Invariant 4, for the deadlines that holders report. */
function clockStartsBeforeTheRequest(beliefs: readonly Belief[]): Check {
  const findings: Finding[] = [];
  let examined = 0;
  for (const { grant, terms } of beliefs) {
    const { key } = grant;
    for (const [index, { sent, claim }] of terms.entries()) {
      // A clock that was set between the two readings tells nothing of the past.
      if (Math.abs(claim.wall - claim.at - (sent.wall - sent.at)) > UNSET_MS) continue;
      examined++;
      const deadline = deadlineOf({ grant, terms: terms.slice(0, index + 1) }, 'at');
      // The deadline counts by the wall clock at the sending. A wall clock that was set back since shows a later
      // deadline.
      const beyond = sent.at + (claim.deadline - sent.wall) - deadline;
      if (beyond <= ROUNDING_MS) continue;
      const text = `${claim.by} believes in ${key} for ${ms(beyond)} longer than its sending allows`;
      findings.push({ text, key, from: sent.at, to: claim.at + 100 });
    }
  }
  return { name: 'the clock starts before the request (4)', examined, findings };
}

/** Invariant 5: `isHeld()` is false after the deadline, and no renewal is sent after the deadline. */
function noBeliefBeyondTheDeadline(beliefs: readonly Belief[]): Check {
  const acts = beliefs.flatMap(({ grant, terms, work, tries }) => [
    ...work
      .filter(({ asked }) => asked)
      .map(({ at }) => ({
        grant,
        at,
        did: 'was told that it holds',
        terms: terms.filter(({ sent }) => sent.at <= at),
      })),
    ...tries.map(({ sent, terms }) => ({ grant, at: sent.since, did: 'renews', terms })),
  ]);
  const findings = acts.flatMap(({ grant, at, did, terms }): Finding[] => {
    const { by, key } = grant;
    const beyond = at - deadlineOf({ grant, terms }, 'at');
    if (beyond <= ROUNDING_MS) return [];
    return [{ text: `${by} ${did} ${key}, ${ms(beyond)} after its deadline`, key, from: grant.at, to: at }];
  });
  return { name: 'nothing is held or renewed after its deadline (5)', examined: acts.length, findings };
}

/** Invariant 6. A process that does not run between the deadline and the expiry is told when it runs again. */
function toldInTime(history: readonly Entry[], beliefs: readonly Belief[]): Check {
  const stalls = byWriter(history.filter((entry) => entry.type === 'stalled'));
  const lastSeen = new Map<string, number>();
  for (const { by, at } of history) lastSeen.set(by, at);
  const findings: Finding[] = [];
  let examined = 0;
  for (const belief of beliefs) {
    const { by, key, safetyMs, at } = belief.grant;
    const deadline = deadlineOf(belief, 'at');
    const expiry = deadline + safetyMs;
    const endedAt = belief.end?.at ?? Number.POSITIVE_INFINITY;
    if (endedAt <= deadline || (lastSeen.get(by) ?? 0) < expiry) continue;
    examined++;
    const until = Math.min(endedAt, lastSeen.get(by) ?? 0);
    if (endedAt <= expiry || !ran(stalls.get(by) ?? [], deadline + ROUNDING_MS, until)) continue;
    const told = belief.end ? `${ms(endedAt - expiry)} after its expiry` : 'never';
    findings.push({
      text: `${by}, which was running, was told ${told} that ${key} is lost`,
      key,
      from: at,
      to: Math.min(until, expiry + 5_000),
    });
  }
  return { name: 'the holder is told before the expiry (6)', examined, findings };
}

/** Tells if a process certainly ran between two moments: a long enough stretch between them is free of stalls. */
function ran(stalls: readonly EntryOf<'stalled'>[], from: number, to: number): boolean {
  let free = from;
  for (const stall of stalls) {
    if (stall.at < from || stall.from > to) continue;
    if (stall.from - free >= SURELY_RAN_MS) return true;
    free = Math.max(free, stall.at);
  }
  return to - free >= SURELY_RAN_MS;
}

/** Invariant 9: no lease is released before its holder ends its work, or learns of its loss. */
function nothingReleasedUnderWork(beliefs: readonly Belief[]): Check {
  const findings = beliefs.flatMap(({ grant: { by, key, at }, early }): Finding[] =>
    early ? [{ text: `the lease of ${by} on ${key} is released under its work`, key, from: at, to: early.at }] : [],
  );
  return { name: 'nothing is released under work that goes on (9)', examined: beliefs.length, findings };
}

/** Invariant 7: a lease that was lost or handed off is not held, renewed or released any more. */
function lostIsFinal(beliefs: readonly Belief[]): Check {
  const lost = beliefs.filter(({ end }) => end?.type === 'lost' || end?.type === 'handedOff');
  const findings = lost.flatMap(({ grant, end, terms, work, released }): Finding[] => {
    const lostAt = end?.at ?? 0;
    const revived =
      terms.map(({ claim }) => claim).find(({ at }) => at > lostAt) ??
      work.find(({ asked, at }) => asked && at > lostAt) ??
      (released?.known ? released : undefined);
    if (!revived) return [];
    const had = end?.type === 'lost' ? 'lost' : 'handed off';
    const text = `${grant.by} had ${had} ${grant.key}, and ${ms(revived.at - lostAt)} later it is ${revived.type}`;
    return [{ text, key: grant.key, from: grant.at, to: revived.at }];
  });
  return { name: 'lost and handed off are final (7)', examined: lost.length, findings };
}

/** Invariant 9: a process renews, releases and gives back only its own grants. */
function nobodyTouchesWhatIsNotTheirs(served: Served): Check {
  const name = 'nobody renews, releases or gives back what is not theirs (9)';
  return judgeRecords(name, served, ({ what, lockId, key, at }, _record, before) => {
    if (what === 'acquire' || what === 'resume' || before?.lockId === lockId) return undefined;
    const text = `a ${what} of ${key} was applied, though the lock was ${before?.lockId ? "somebody else's" : 'nobody’s'}`;
    return { text, key, from: at - 1_000, to: at + 1_000 };
  });
}

/** The server grants one resume of a handle, while the handed-off grant stands. So the lease goes on in one process. */
function oneResumeOfAHandle(history: readonly Entry[], served: Served): Check {
  const name = 'of the resumes of one handle one is granted, on a grant that stands';
  const resumes = [...served.values()].flat().filter(({ what }) => what === 'resume');
  const { findings } = judgeRecords(name, served, ({ what, handed, key, at, owner }, _record, before) => {
    if (what !== 'resume' || before?.lockId === handed) return undefined;
    const text = `${owner} resumed ${key}, though the grant that was handed off did not stand any more`;
    return { text, key, from: at - 2_000, to: at + 500 };
  });
  const first = new Map<string, EntryOf<'granted'>>();
  const twice = history.flatMap((entry): Finding[] => {
    if (entry.type !== 'granted' || entry.handed === undefined) return [];
    const { by, key, at, handed } = entry;
    const before = first.get(handed);
    if (!before) {
      first.set(handed, entry);
      return [];
    }
    const text = `${before.by} and ${by} both resumed ${key} with one handle`;
    return [{ text, key, from: before.at - 500, to: at + 500 }];
  });
  return { name, examined: resumes.length || first.size, findings: [...findings, ...twice] };
}

/** One process at most is told that it finished the work of a token, and no process is granted a finished token. */
function noTokenTwice(history: readonly Entry[], served: Served): Check {
  const name = "no token's work is done twice to the end";
  const { findings } = judgeRecords(name, served, ({ what, once, key, at, owner }, record, before) => {
    if (what !== 'acquire' || once === undefined || record.lockId === before?.lockId) return undefined;
    if (before?.doneToken === undefined || before.doneToken < once) return undefined;
    const text = `${owner} was granted ${key} for '${once}', and '${before.doneToken}' was done`;
    return { text, key, from: at - 2_000, to: at + 500 };
  });
  const first = new Map<string, EntryOf<'released'>>();
  const finished = finishedIn(history);
  const twice = finished.flatMap((entry): Finding[] => {
    const { by, key, at, done } = entry;
    const before = first.get(`${key} ${done}`);
    if (!before) {
      first.set(`${key} ${done}`, entry);
      return [];
    }
    const text = `${before.by} and ${by} both finished the work of '${done}' under ${key}`;
    return [{ text, key, from: before.at - 2_000, to: at + 200 }];
  });
  return { name, examined: finished.length, findings: [...findings, ...twice] };
}

/** A token that a release or a refusal calls done stands in the record by then, and stays there. */
function doneIsFinished(history: readonly Entry[], served: Served): Check {
  const name = 'what is called done has finished, and stays done';
  const { findings } = judgeRecords(name, served, ({ key, at, by }, { doneToken = '' }, before) => {
    if (before?.doneToken === undefined || doneToken >= before.doneToken) return undefined;
    const text = `${by}: '${doneToken}' is done under ${key}, after '${before.doneToken}'`;
    return { text, key, from: at - 500, to: at + 500 };
  });
  const stood = (key: string, once: string, by: number): boolean =>
    (served.get(key) ?? []).some(({ record, at }) => at <= by && (record?.doneToken ?? '') >= once);
  const refusals = history.flatMap((entry) =>
    entry.type === 'refused' && entry.doneToken !== undefined ? [{ ...entry, token: entry.once ?? '' }] : [],
  );
  const told = [...finishedIn(history).map((entry) => ({ ...entry, token: entry.done })), ...refusals];
  const untrue = told.flatMap(({ by, key, at, token }): Finding[] => {
    if (stood(key, token, at)) return [];
    return [
      {
        text: `${by} was told that '${token}' is done under ${key}, and it is not`,
        key,
        from: at - 2_000,
        to: at + 200,
      },
    ];
  });
  return { name, examined: told.length, findings: [...findings, ...untrue] };
}

/** The releases that reported a token as done. */
const finishedIn = (history: readonly Entry[]): (EntryOf<'released'> & { readonly done: string })[] =>
  history.flatMap((entry) =>
    entry.type === 'released' && entry.known && entry.done !== undefined ? [{ ...entry, done: entry.done }] : [],
  );

/** A resource that remembers the highest token accepts no lower token. */
function fencedResourceKeepsOrder(history: readonly Entry[]): Check {
  const highest = new Map<string, number>();
  const findings: Finding[] = [];
  let examined = 0;
  for (const entry of history) {
    if (entry.type !== 'fenced' || !entry.applied) continue;
    const { key, fencingToken, at } = entry;
    const before = highest.get(key) ?? 0;
    examined++;
    if (fencingToken < before) {
      const text = `the fenced resource of ${key} accepted the token ${fencingToken} after ${before}`;
      findings.push({ text, key, from: at - 1_000, to: at + 500 });
    }
    highest.set(key, Math.max(before, fencingToken));
  }
  return { name: 'a fenced resource accepts no lower token', examined, findings };
}

/**
 * Every write of a guarded counter adds one to the last value, so the counter equals the number of writes. A write that
 * was reported as done was applied, and a write that was reported as refused was not. A write with an unknown outcome may
 * have been applied or not.
 */
function guardedCounterLosesNothing(history: readonly Entry[]): Check {
  const writes = history.filter((entry) => entry.type === 'counting' && entry.counter === 'guarded' && entry.applied);
  const told = history.filter((entry) => entry.type === 'counted' && entry.counter === 'guarded');
  const written = new Set(writes.map((entry) => 'id' in entry && entry.id));
  const findings = told.flatMap((entry): Finding[] => {
    if (entry.type !== 'counted' || entry.outcome === 'unknown') return [];
    const { by, key, id, at, outcome } = entry;
    if (written.has(id) === (outcome === 'done')) return [];
    const truth = outcome === 'done' ? 'was not written' : 'was written';
    const text = `${by} was told that its guarded write under ${key} was ${outcome}, and it ${truth}`;
    return [{ text, key, from: at - 2_000, to: at + 500 }];
  });
  return {
    name: 'a guarded counter loses no update',
    examined: writes.length,
    findings: [...lostUpdates(writes as EntryOf<'counting'>[]), ...findings],
  };
}

function lostUpdates(writes: readonly EntryOf<'counting'>[]): Finding[] {
  const values = new Map<string, number>();
  const written = new Set<string>();
  return writes.flatMap(({ key, id, value, at }): Finding[] => {
    const before = values.get(key) ?? 0;
    const expected = written.has(id) ? before : before + 1;
    values.set(key, value);
    written.add(id);
    if (value === expected) return [];
    const text = `the guarded counter of ${key} was set to ${value} after ${before}, and ${expected} was expected`;
    return [{ text, key, from: at - 2_000, to: at + 200 }];
  });
}

/**
 * A lock whose holder is gone opens at the end of its lease. A finding needs two refused attempts of the same process,
 * since the first attempt may have taught the process that its clock is wrong.
 */
function noLeaseWithoutOwner(history: readonly Entry[], served: Served): Check {
  const attempts = new Map<string, EntryOf<'sent'>>();
  for (const entry of history) {
    if (entry.type === 'sent' && entry.what === 'acquire' && !attempts.has(entry.lockId))
      attempts.set(entry.lockId, entry);
  }
  /** True if the later attempt was sent after the earlier refusal, and with the same clock. */
  const knew = (later: ServedEntry, earlier: ServedEntry): boolean => {
    const [asked, before] = [attempts.get(later.lockId), attempts.get(earlier.lockId)];
    if (!asked || !before || asked.at <= earlier.at) return false;
    return Math.abs(asked.wall - asked.at - (before.wall - before.at)) <= UNSET_MS;
  };
  const refusals = [...served.values()].flatMap(refusalsOf);
  const overdue = Map.groupBy(
    refusals.filter(({ entry, opensAt }) => entry.at > opensAt + ORPHAN_MS),
    ({ state }) => state,
  );
  const findings = [...overdue.values()].flatMap((refusals): Finding[] => {
    const first = new Map<string | undefined, ServedEntry>();
    for (const { entry, state, opensAt } of refusals) {
      const earlier = first.get(entry.owner);
      first.set(entry.owner, entry);
      if (!earlier || !knew(entry, earlier)) continue;
      const text = `${entry.key} is left without an owner, and still closed ${ms(entry.at - opensAt)} after it should have opened`;
      return [{ text, key: entry.key, from: state.at - 500, to: entry.at }];
    }
    return [];
  });
  return { name: 'no lease is left without an owner longer than its expiry', examined: refusals.length, findings };
}

interface Refusal {
  readonly entry: ServedEntry;
  /** The last write that was applied before the refusal. */
  readonly state: ServedEntry;
  /** The moment at which the lock should have opened. */
  readonly opensAt: number;
}

/** The refused acquires of a key, without refusals that show the acquire's own `lockId`. */
function refusalsOf(entries: readonly ServedEntry[]): Refusal[] {
  // Only an acquire or a resume has `leaseMs`. Later requests of the same grant do not.
  const leaseMs = new Map(entries.flatMap((entry) => (entry.leaseMs ? [[entry.lockId, entry.leaseMs]] : [])));
  let state: ServedEntry | undefined;
  return entries.flatMap((entry): Refusal[] => {
    const { what, lockId, record } = entry;
    if (entry.applied) state = entry;
    if (entry.applied || what !== 'acquire' || !state || !record) return [];
    if (record.lockId === lockId || record.releasedBy === lockId) return [];
    const opensAt = state.at + (leaseMs.get(record.lockId ?? '') ?? 0) + CORRECTION_MS;
    return [{ entry, state, opensAt }];
  });
}

function everyTaskDone(history: readonly Entry[]): Check {
  const done = new Set(history.flatMap((entry) => (entry.type === 'done' ? [entry.task] : [])));
  const tasks = history.filter((entry) => entry.type === 'task');
  const to = history.at(-1)?.at ?? 0;
  const findings = tasks
    .filter(({ task }) => !done.has(task))
    .map(({ task, key, at }): Finding => ({ text: `the task '${task}' was not done`, key, from: at, to }));
  return { name: 'every task is done', examined: tasks.length, findings };
}

/** Invariant 12: a process ends after it closed its client, and does not crash before. */
function processesEndWhenTold(history: readonly Entry[]): Check {
  const ends = history.filter(({ type }) => type === 'killed' || type === 'ended');
  const ended = new Set(ends.map((entry) => 'process' in entry && entry.process));
  const lives = history.filter((entry) => entry.type === 'started');
  const crashes = new Map(history.flatMap((entry) => (entry.type === 'crashed' ? [[entry.process, entry]] : [])));
  const to = history.at(-1)?.at ?? 0;
  const findings = lives
    .filter(({ by }) => !ended.has(by))
    .map(({ by, at }): Finding => {
      const crash = crashes.get(by);
      return {
        text: `${by} ended otherwise than it was told: ${crash?.how ?? 'not at all'}`,
        from: (crash?.at ?? at) - 500,
        to: crash?.at ?? to,
      };
    });
  return { name: 'a process ends when it is told to, and by itself (12)', examined: lives.length, findings };
}

type ServedEntry = EntryOf<'served'>;
type Served = ReadonlyMap<string, readonly ServedEntry[]>;

/** Judges each write that the server applied, by the records before and after the write. */
function judgeRecords(
  name: string,
  served: Served,
  judge: (entry: ServedEntry, record: Kept, before: Kept | undefined) => Finding | undefined,
): Check {
  const findings: Finding[] = [];
  let examined = 0;
  for (const entries of served.values()) {
    let before: Kept | undefined;
    for (const entry of entries) {
      if (!entry.applied || !entry.record) continue;
      examined++;
      const finding = judge(entry, entry.record, before);
      if (finding) findings.push(finding);
      before = entry.record;
    }
  }
  return { name, examined, findings };
}

const byKey = <T extends { readonly key: string }>(all: readonly T[]): Map<string, T[]> =>
  Map.groupBy(all, ({ key }) => key);
const byWriter = <T extends { readonly by: string }>(all: readonly T[]): Map<string, T[]> =>
  Map.groupBy(all, ({ by }) => by);

const ms = (value: number): string => `${value.toFixed(1)} ms`;
