/** Reports a run to people: the counts, the checks, and the slices of the history that show a fault. */
import { type Check, isRecorded, SERVER_CHECKS } from './checker.ts';
import type { Counter, Entry } from './history.ts';
import { drawFinding, LEGEND } from './timeline.ts';

/** The most findings that the report draws for one check. The report counts the other findings. */
const MOST_DRAWN = 3;

export function report(history: readonly Entry[], checks: readonly Check[]): string {
  const faults = checks.filter(({ findings }) => findings.length > 0);
  return [
    ...faults.flatMap(({ name, findings }) => [
      `\nFAULT: ${name}: ${findings.length} of them`,
      ...findings.slice(0, MOST_DRAWN).flatMap((finding) => [`  ${finding.text}`, drawFinding(history, finding)]),
    ]),
    ...(faults.length > 0 ? [`  (${LEGEND})`, ''] : []),
    ...Object.entries(countsOf(history)).map(([name, counts]) => `${name}: ${phrase(counts)}`),
    'checks:',
    ...checks.map(({ name, examined, findings }) => {
      const verdict =
        findings.length > 0 ? `${findings.length} FAULTS` : examined > 0 ? 'no fault' : 'NOTHING TO JUDGE';
      return `  ${name}: ${examined.toLocaleString('en')} examined, ${verdict}`;
    }),
    ...(isRecorded(history)
      ? []
      : ['not judged, since no server wrote its own lines:', ...SERVER_CHECKS.map((name) => `  ${name}`)]),
  ].join('\n');
}

type Counts = Record<string, number | string>;

const phrase = (counts: Counts): string =>
  Object.entries(counts)
    .map(([what, count]) => `${count.toLocaleString('en')} ${what}`)
    .join(', ');

function countsOf(history: readonly Entry[]): Record<string, Counts> {
  const count = (type: Entry['type'], is: (entry: Entry) => boolean = () => true) =>
    history.filter((entry) => entry.type === type && is(entry)).length;
  const served = history.filter((entry) => entry.type === 'served');
  const faults = Object.groupBy(
    history.filter((entry) => entry.type === 'fault'),
    ({ fault }) => fault,
  );
  return {
    locks: {
      attempts: count('attempt'),
      grants: count('granted'),
      'of them takeovers': count('granted', (entry) => 'takenOver' in entry && entry.takenOver),
      renewals: count('renewed'),
      losses: count('lost'),
      releases: count('released'),
      'grants given back': isRecorded(history)
        ? served.filter(({ what, applied }) => what === 'giveBack' && applied).length
        : count('sent', (entry) => 'what' in entry && entry.what === 'giveBack'),
    },
    'once and hand-over': {
      'grants for a token': count('granted', (entry) => 'once' in entry),
      'of them finished': count('released', (entry) => 'done' in entry && 'known' in entry && entry.known),
      'told that it is done already': count('refused', (entry) => 'doneToken' in entry),
      'leases handed off': count('handedOff'),
      'resumes tried': count('resuming'),
      'leases resumed': count('granted', (entry) => 'handed' in entry),
    },
    nemesis: {
      kills: count('killed'),
      freezes: count('frozen'),
      cuts: count('cut'),
      outages: count('outage'),
      'clocks set': count('shifted'),
      'freezes of the server': count('serverFrozen'),
      'kills of the server': count('serverKilled'),
    },
    'faults injected': {
      'in all': count('fault'),
      ...Object.fromEntries(Object.entries(faults).map(([fault, entries]) => [fault, entries?.length ?? 0])),
    },
    ...(isRecorded(history)
      ? {
          'the fenced resource': {
            accepted: count('fenced', (entry) => 'applied' in entry && entry.applied),
            refused: count('fenced', (entry) => 'applied' in entry && !entry.applied),
          },
          'the guarded counter': counterOf(history, 'guarded'),
          'the unguarded counter': counterOf(history, 'unguarded'),
        }
      : {
          'the committed counter': {
            'commits tried': count('committing'),
            'successes reported': count('counted', (entry) => 'outcome' in entry && entry.outcome === 'done'),
            'the count in the end': history.reduce(
              (sum, entry) => sum + (entry.type === 'committed' ? entry.value : 0),
              0,
            ),
          },
        }),
  };
}

/** Counts the writes of a counter under all keys, and the updates that are missing in the end. */
function counterOf(history: readonly Entry[], counter: Counter): Counts {
  const outcomes = history.filter((entry) => entry.type === 'counted' && entry.counter === counter);
  const told = (outcome: string) => outcomes.filter((entry) => 'outcome' in entry && entry.outcome === outcome).length;
  const written = new Set<string>();
  const last = new Map<string, number>();
  for (const entry of history) {
    if (entry.type !== 'counting' || entry.counter !== counter || !entry.applied) continue;
    written.add(entry.id);
    last.set(entry.key, entry.value);
  }
  const final = [...last.values()].reduce((sum, value) => sum + value, 0);
  return {
    'successes reported': told('done'),
    refused: told('refused'),
    unknown: told('unknown'),
    'written in all': written.size,
    'the count in the end': final,
    'updates lost': written.size - final,
  };
}
