/** The checks that need no line of the server: they judge by the lines of the processes alone. */
import type { Check, Finding } from './checker.ts';
import type { Entry, EntryOf } from './history.ts';

/** Invariant 2: a grant that was asked for after another grant was known has a higher token, and no two grants share one. */
export function tokensGrowFromGrantToGrant(history: readonly Entry[]): Check {
  const askedAt = new Map<string, number>();
  for (const entry of history) {
    if (entry.type === 'sent' && !askedAt.has(entry.lockId)) askedAt.set(entry.lockId, entry.since);
  }
  const grants = Map.groupBy(
    history.filter((entry) => entry.type === 'granted'),
    ({ key }) => key,
  );
  const findings: Finding[] = [];
  let examined = 0;
  for (const [key, ofKey] of grants) {
    for (const later of ofKey) {
      const asked = askedAt.get(later.lockId) ?? later.at;
      // A grant that was known before the later one was asked for stands before it in the history.
      const earlier = ofKey.filter(({ at, lockId }) => at <= asked && lockId !== later.lockId);
      const highest = earlier.reduce((a, b) => (b.fencingToken > (a?.fencingToken ?? 0) ? b : a), earlier[0]);
      examined++;
      const twin = ofKey.find((other) => other !== later && other.fencingToken === later.fencingToken);
      const before = twin ?? (highest && highest.fencingToken >= later.fencingToken ? highest : undefined);
      if (!before) continue;
      const text = `${later.by} was granted ${key} with the token ${later.fencingToken}, and ${before.by} with ${before.fencingToken} before`;
      findings.push({ text, key, from: before.at - 500, to: later.at + 500 });
    }
  }
  return { name: 'tokens only grow from grant to grant (2)', examined, findings };
}

/**
 * Invariant 14, for a counter in the lock's own record: each holder reads the value at its grant, and commits one more. So no
 * two commits that were told as done have one value, and the last value is the number of commits that were applied.
 */
export function committedCounterLosesNothing(history: readonly Entry[]): Check {
  const tries = new Map(history.flatMap((entry) => (entry.type === 'committing' ? [[entry.id, entry]] : [])));
  const done = history.flatMap((entry) => {
    const tried = entry.type === 'counted' && entry.outcome === 'done' ? tries.get(entry.id) : undefined;
    return tried ? [tried] : [];
  });
  const lasts = new Map(history.flatMap((entry) => (entry.type === 'committed' ? [[entry.key, entry]] : [])));
  const findings = [
    ...committedTwice(done),
    ...done.flatMap((commit) => overwritten(commit, lasts.get(commit.key))),
    ...[...lasts.values()].flatMap((last) => fromNobody(last, [...tries.values()])),
  ];
  return { name: 'a committed counter loses no update (14)', examined: done.length, findings };
}

type Commit = EntryOf<'committing'>;

function committedTwice(done: readonly Commit[]): Finding[] {
  const first = new Map<string, Commit>();
  return done.flatMap((commit): Finding[] => {
    const { by, key, value, at } = commit;
    const before = first.get(`${key} ${value}`);
    if (!before) {
      first.set(`${key} ${value}`, commit);
      return [];
    }
    const text = `${before.by} and ${by} both committed the value ${value} of ${key}`;
    return [{ text, key, from: before.at - 2_000, to: at + 500 }];
  });
}

function overwritten({ by, key, value, at }: Commit, last: EntryOf<'committed'> | undefined): Finding[] {
  if (last && value <= last.value) return [];
  const text = `${by} committed the value ${value} of ${key}, and in the end ${last?.value ?? 'nothing'} stands there`;
  return [{ text, key, from: at - 2_000, to: at + 500 }];
}

function fromNobody({ key, value, at }: EntryOf<'committed'>, tries: readonly Commit[]): Finding[] {
  const tried = new Set(tries.filter((commit) => commit.key === key).map((commit) => commit.value));
  return Array.from({ length: value }, (_, index) => index + 1)
    .filter((each) => !tried.has(each))
    .map((each) => ({ text: `nobody committed the value ${each} of ${key}`, key, from: at - 2_000, to: at }));
}
