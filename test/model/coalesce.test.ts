import { describe, expect, test } from '@jest/globals';
import type { LockRecord } from '../../lib/record/record.ts';
import { type Bounds, coalescing, FAULTS, type Fault, writes } from './coalesce-model.ts';
import { explore } from './explore.ts';

const configurations = {
  'two events': { events: 2, repeats: 1 },
  'three events': { events: 3 },
  'three events, a repeated request': { events: 3, repeats: 1 },
  'three events, a request given up': { events: 3, givenUp: 1 },
  'three events, a frozen holder': { events: 3, expiries: 1 },
  'three events, a crash': { events: 3, crashes: 1 },
  'two events, everything': { events: 2, repeats: 1, givenUp: 1, crashes: 1, expiries: 1, failures: 1 },
  'a plain lease between': { events: 3, plain: 1, repeats: 1 },
  'a plain lease between, a crash': { events: 3, plain: 1, crashes: 1 },
} satisfies Record<string, Bounds>;
type Configuration = keyof typeof configurations;

/** Larger bounds, as they were explored when the protocol was made. They take half a minute. */
const larger: Record<string, Bounds> = process.env.CI
  ? {}
  : {
      'two events, everything, two repeated requests': {
        ...configurations['two events, everything'],
        repeats: 2,
        tries: 3,
      },
    };

const { acquire, ask, release } = writes;
type Judged = LockRecord | undefined;

/** The record as a condition sees it that does not compare the run. */
const inRun = (record: Judged, level = 0): Judged => record && { ...record, serving: level };

const faults: [fault: string, planted: Fault, configuration: Configuration, found: string][] = [
  [
    'a release does not ask which run is under way',
    {
      writes: {
        release(record, request) {
          const isAny = request.served !== undefined && record?.asked === record?.serving;
          return release(record, isAny ? { ...request, served: record?.serving } : request);
        },
      },
    },
    'two events',
    FAULTS.releasedRunning,
  ],
  [
    'a release does not ask whether somebody has asked',
    {
      writes: {
        release(record, request) {
          const left = release(record && { ...record, asked: request.served }, request);
          return left && { ...left, asked: record?.asked };
        },
      },
    },
    'two events',
    FAULTS.neverRun,
  ],
  [
    'a holder runs again without writing that the run begins',
    { runsUnwritten: true, writes: { release: (record, request) => release(inRun(record, request.served), request) } },
    'three events',
    FAULTS.lostTrace,
  ],
  [
    'a grant does not count as an ask',
    {
      writes: {
        acquire(record, request) {
          const granted = acquire(record, request);
          const asked = record?.asked ?? 0;
          return granted && request.coalesce ? { ...granted, asked, serving: asked } : granted;
        },
      },
    },
    'three events, a crash',
    FAULTS.lostTrace,
  ],
  [
    'a plain grant keeps the run of the grant before',
    {
      writes: {
        acquire(record, request) {
          const granted = acquire(record, request);
          return granted && { ...granted, serving: granted.serving ?? record?.serving };
        },
        release: (record, request) => keeping(record, release(record, request)),
      },
    },
    'a plain lease between',
    FAULTS.neverRun,
  ],
  ['an owner believes a plain grant to run', { coveredByPlain: true }, 'a plain lease between', FAULTS.neverRun],
];

/** The record that a write left, with the run of the grant that the write ended. */
function keeping(record: Judged, left: Judged): Judged {
  return left && { ...left, serving: record?.serving };
}

/** An ask that takes any grant for the one it names. */
const askAnybody: typeof ask = (record, request) =>
  ask(record && { ...record, lockId: request.seen }, request) && record && { ...record, asked: request.serving + 1 };

const redundant: [clause: string, planted: Fault, configuration: Configuration, why: string][] = [
  [
    'an ask without lockId = :seen',
    { writes: { ask: askAnybody } },
    'three events, a repeated request',
    'the run goes with its grant, the run of each grant has a number of its own, and the asker reads the record',
  ],
  [
    'an ask without serving = :serving',
    {
      writes: {
        ask: (record, { seen }) =>
          record?.lockId === seen ? { ...record, asked: (record.asked ?? 0) + 1 } : undefined,
      },
    },
    'three events, a repeated request',
    'a late ask makes a run that nobody needs',
  ],
  [
    'a turn without its comparison',
    {
      writes: {
        turn: (record, { lockId }) => (record?.lockId === lockId ? { ...record, serving: record?.asked } : undefined),
      },
    },
    'three events, a repeated request',
    'a late turn makes the next release be refused, and a run that nobody needs',
  ],
  [
    'an own attempt that stands unseen is discarded',
    { ownUnseen: true },
    'three events, a repeated request',
    'these bounds are too small: nobody runs under such a grant, and the run stays owed until it expires',
  ],
];

describe('coalesce: whoever is covered has a run or is owed one, and two never run at a time,', () => {
  test.each(Object.entries({ ...configurations, ...larger }))('in every interleaving of %s', (_, bounds) => {
    const { states, faults } = explore(coalescing(bounds));
    process.stdout.write(`coalesce ${JSON.stringify(bounds)}: ${states} states\n`);
    expect([...faults]).toEqual([]);
  });

  test.each(faults)('and not if %s', (_, planted, configuration, found) => {
    expect([...explore(coalescing(configurations[configuration], planted)).faults.keys()]).toContain(found);
  });

  test.each(redundant)(
    'also with %s dropped, in bounds that do not need it',
    (_clause, planted, configuration, _why) => {
      expect([...explore(coalescing(configurations[configuration], planted)).faults]).toEqual([]);
    },
  );
});
