/** Judges the history of processes that use what stands above a lock. */
import type { Entry, EntryOf } from './history.ts';

/** A rule: the cases that were examined, and the findings against the rule. */
interface Verdict {
  readonly rule: string;
  readonly examined: number;
  readonly findings: readonly string[];
}

const MOST_SHOWN = 5;

export const reportAbove = (verdicts: readonly Verdict[]): string =>
  verdicts
    .flatMap(({ rule, examined, findings }) => [
      `  ${rule}: ${examined.toLocaleString('en')} examined, ${findings.length > 0 ? `${findings.length} FAULTS` : 'no fault'}`,
      ...findings.slice(0, MOST_SHOWN).map((finding) => `    ${finding}`),
    ])
    .join('\n');

const CALLS = ['permit', 'several', 'coalesce', 'line'];

export function checkAbove(history: readonly Entry[]): Verdict[] {
  const works = worksOf(history);
  const groups = Map.groupBy(works, ({ group }) => (/^slot /.test(group) ? 'slots' : group.split('/')[0]));
  return [
    ...['pool', 'slots', 'several', 'sync', 'leader', 'line'].map((name) => exclusion(name, groups.get(name) ?? [])),
    served(history),
    ...CALLS.map((what) => progress(what, history)),
    endings(history),
  ];
}

interface Work {
  readonly group: string;
  readonly most: number;
  readonly from: number;
  /** The end of the work, or of the belief in its lease, whichever came first. */
  readonly to: number;
}

function worksOf(history: readonly Entry[]): Work[] {
  const open = new Map<string, EntryOf<'begins'> & { to: number }>();
  const ended = new Map<string, number>();
  for (const line of history) {
    if (line.type === 'begins') open.set(line.work, { ...line, to: line.until });
    if (line.type === 'believes') {
      const work = open.get(line.work);
      // A belief that was written down after its end proves nothing.
      if (work && line.at < work.to) work.to = Math.max(work.to, line.until);
    }
    if (line.type === 'ends') ended.set(line.work, line.at);
    if (line.type !== 'killed') continue;
    for (const [name, { by }] of open) if (by === line.process && !ended.has(name)) ended.set(name, line.at);
  }
  return [...open].map(([name, { group, most, at, to }]) => ({
    group,
    most,
    from: at,
    to: Math.min(to, ended.get(name) ?? Infinity),
  }));
}

/** At any moment, no more works of a group are under way and believed than may be. */
function exclusion(name: string, works: readonly Work[]): Verdict {
  const findings: string[] = [];
  for (const [group, all] of Map.groupBy(works, ({ group }) => group)) {
    const moments = all.flatMap(({ from, to, most }) => [
      { at: from, change: 1, most },
      { at: Math.max(from, to), change: -1, most },
    ]);
    moments.sort((a, b) => a.at - b.at || a.change - b.change);
    let count = 0;
    for (const { at, change, most } of moments) {
      count += change;
      if (count > most) findings.push(`${count} works on ${group} at ${at.toFixed(0)}, and at most ${most} may be`);
    }
  }
  return { rule: `exclusion: ${name}`, examined: works.length, findings };
}

/** Invariant 15: for every event whose caller was told so, a run that began after the event has succeeded. */
function served(history: readonly Entry[]): Verdict {
  const events = new Map(history.flatMap((line) => (line.type === 'event' ? [[line.event, line.at]] : [])));
  const lastRun = Math.max(0, ...history.flatMap((line) => (line.type === 'ran' ? [line.since] : [])));
  const told = history.filter((line) => line.type === 'eventServed');
  const findings = told.filter(({ event }) => (events.get(event) ?? Infinity) > lastRun);
  return {
    rule: 'every event that is said to be served has a run after it',
    examined: told.length,
    findings: findings.map(({ event }) => `${event} has no run that began later`),
  };
}

/** Calls are done, whatever the faults. */
function progress(what: string, history: readonly Entry[]): Verdict {
  const calls = history.filter((line) => line.type === 'call').filter((line) => line.what === what);
  const done = calls.filter(({ outcome }) => outcome === 'done');
  const calm = history.find(({ type }) => type === 'calm')?.at ?? Infinity;
  const findings = [
    ...(done.length < calls.length / 4 ? [`${done.length} of ${calls.length} calls were done`] : []),
    ...(Number.isFinite(calm) ? [] : ['the nemesis did not come to an end']),
  ];
  return { rule: `progress: ${what}`, examined: done.length, findings };
}

/** Every process that was told to end has ended. */
function endings(history: readonly Entry[]): Verdict {
  const crashed = history.filter((line) => line.type === 'crashed');
  return {
    rule: 'processes end when they are told to',
    examined: history.filter(({ type }) => type === 'ended').length,
    findings: crashed.map(({ process, how }) => `process ${process}: ${how}`),
  };
}
