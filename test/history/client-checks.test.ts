import { describe, expect, test } from '@jest/globals';
import { check, SERVER_CHECKS } from '../chaos/checker.ts';
import { committedCounterLosesNothing, tokensGrowFromGrantToGrant } from '../chaos/client-checks.ts';
import type { Entry, Line } from '../chaos/history.ts';
import { report } from '../chaos/report.ts';

const line = (by: string, at: number, line: Line): Entry => ({ by, at, wall: at, monotonic: at, ...line });

/** The lines of a grant that was asked for at one moment and known at another. */
function grant(by: string, asked: number, known: number, fencingToken: number): Entry[] {
  const [key, lockId] = ['k1', `${by} ${asked}`];
  return [
    line(by, asked, { type: 'sent', what: 'acquire', key, lockId, since: asked }),
    line(by, known, {
      type: 'granted',
      key,
      lockId,
      fencingToken,
      leaseMs: 500,
      safetyMs: 125,
      deadline: known + 375,
      takenOver: false,
    }),
  ];
}

/** The lines of a commit. Without an outcome, the process was killed before it wrote the outcome down. */
function commit(by: string, at: number, value: number, outcome?: 'done' | 'unknown'): Entry[] {
  const [key, id, fencingToken] = ['k1', `${by} ${at}`, at];
  return [
    line(by, at, { type: 'committing', key, fencingToken, id, value }),
    ...(outcome ? [line(by, at + 5, { type: 'counted', key, fencingToken, counter: 'guarded', id, outcome })] : []),
  ];
}

const inTheEnd = (value: number) => line('nemesis', 9_000, { type: 'committed', key: 'k1', value });
const texts = ({ findings }: { findings: readonly { text: string }[] }) => findings.map(({ text }) => text);

describe('the tokens that processes were granted', () => {
  test('may come in any order while the grants were asked for at the same time', () => {
    const history = [...grant('a', 0, 900, 5), ...grant('b', 100, 800, 6)];
    expect(tokensGrowFromGrantToGrant(history)).toMatchObject({ examined: 2, findings: [] });
  });

  test('must grow if the later grant was asked for after the earlier grant was known', () => {
    const history = [...grant('a', 0, 100, 5), ...grant('b', 200, 300, 4)];
    expect(texts(tokensGrowFromGrantToGrant(history))).toEqual([
      'b was granted k1 with the token 4, and a with 5 before',
    ]);
  });

  test('must differ, whenever the grants were asked for', () => {
    const history = [...grant('a', 0, 900, 5), ...grant('b', 100, 800, 5)];
    expect(texts(tokensGrowFromGrantToGrant(history))).toHaveLength(2);
  });
});

describe('the counter in the record of a lock', () => {
  test('loses nothing if every value was committed once, also by processes that do not know', () => {
    const history = [
      ...commit('a', 0, 1, 'done'),
      ...commit('b', 10, 2, 'unknown'),
      ...commit('c', 20, 3),
      inTheEnd(3),
    ];
    expect(committedCounterLosesNothing(history)).toMatchObject({ examined: 1, findings: [] });
  });

  test('may be tried with one value twice, if one try alone was told as done', () => {
    const history = [...commit('a', 0, 1, 'unknown'), ...commit('b', 10, 1, 'done'), inTheEnd(1)];
    expect(texts(committedCounterLosesNothing(history))).toEqual([]);
  });

  test('has lost an update if two commits of one value were told as done', () => {
    const history = [...commit('a', 0, 1, 'done'), ...commit('b', 10, 1, 'done'), inTheEnd(1)];
    expect(texts(committedCounterLosesNothing(history))).toEqual(['a and b both committed the value 1 of k1']);
  });

  test('has lost an update if a committed value is greater than the last', () => {
    const history = [...commit('a', 0, 1, 'done'), ...commit('b', 10, 2, 'done'), inTheEnd(1)];
    expect(texts(committedCounterLosesNothing(history))).toEqual([
      'b committed the value 2 of k1, and in the end 1 stands there',
    ]);
  });

  test('has a value from nobody if no process tried to commit the value', () => {
    const history = [...commit('a', 0, 1, 'done'), ...commit('b', 10, 3, 'done'), inTheEnd(3)];
    expect(texts(committedCounterLosesNothing(history))).toEqual(['nobody committed the value 2 of k1']);
  });
});

test('a history without lines of a server is judged by its processes, and the report names the checks that are left out', () => {
  const place = line('nemesis', 0, { type: 'place', store: 'redis', isRecorded: false });
  const history = [place, ...grant('a', 10, 100, 5), ...commit('a', 110, 1, 'done'), inTheEnd(1)];
  const checks = check(history);
  const recorded = check(history.slice(1));
  const names = (all: typeof checks) => all.map(({ name }) => name);
  expect(names(checks)).not.toEqual(expect.arrayContaining(SERVER_CHECKS));
  expect(names(recorded)).toEqual(expect.arrayContaining(SERVER_CHECKS));
  expect(report(history, checks)).toContain(
    `not judged, since no server wrote its own lines:\n${SERVER_CHECKS.map((name) => `  ${name}`).join('\n')}`,
  );
  expect(report(history.slice(1), recorded)).not.toContain('not judged');
});
