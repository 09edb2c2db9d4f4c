import { describe, expect, test } from '@jest/globals';
import { type Check, check } from '../chaos/checker.ts';
import type { Entry, Kept, Line } from '../chaos/history.ts';
import { report } from '../chaos/report.ts';

const LEASE_MS = 500;
const SAFETY_MS = 125;
const START = 10_000;
/** The milliseconds by which the wall clock is ahead of the reference clock. */
const WALL = Date.parse('2026-01-01T00:00:00Z');

/** A history that a test can doctor: a test adds lines at moments, and removes lines by their words. */
class Doctored {
  readonly entries: Entry[] = [];

  add(by: string, at: number, line: Line, wall = WALL + START + at): void {
    this.entries.push({ by, at: START + at, wall, monotonic: at, ...line } as Entry);
  }

  /** Removes the lines with these words. Throws if no line has them. */
  drop(words: object): void {
    const isMeant = (entry: Entry) => Object.entries(words).every(([name, value]) => (entry as never)[name] === value);
    const kept = this.entries.filter((entry) => !isMeant(entry));
    if (kept.length === this.entries.length) throw new Error(`Expected a line ${JSON.stringify(words)}`);
    this.entries.splice(0, this.entries.length, ...kept);
  }

  get sorted(): Entry[] {
    return this.entries.toSorted((a, b) => a.at - b.at);
  }

  /** The checks that find a fault, with their findings. */
  get findings(): Record<string, string[]> {
    const faulty = check(this.sorted).filter(({ findings }) => findings.length > 0);
    return Object.fromEntries(faulty.map(({ name, findings }) => [name, findings.map(({ text }) => text)]));
  }
}

const recordOf = (
  token: number,
  at: number,
  lockId: string | undefined,
  releasedBy?: string,
  doneToken?: string,
): Kept => ({
  lockId,
  fencingToken: token,
  acquiredAt: WALL + START + at,
  expiresAt: WALL + START + at + (lockId ? LEASE_MS : 1),
  releasedBy,
  doneToken,
});

interface LeaseOptions {
  /** @default k1 */
  key?: string;
  /** The once token of the lease. The release marks the token as done. */
  once?: string;
  /** The token that was done before the grant. */
  doneToken?: string;
  /** The handed-off grant that the lease continues. */
  handed?: string;
  /**
   * The time of a renewal after the request.
   * @default no renewal
   */
  renewAt?: number;
  /**
   * The time of the work.
   * @default 200
   */
  forMs?: number;
  /**
   * The end of the lease. With `none`, the process ends first.
   * @default released
   */
  end?: 'released' | 'handedOff' | 'lost' | 'none';
}

/**
 * Adds the lines of a lease. The request goes out at `at`, the grant comes 4 ms later, and each step of work takes 50
 * ms.
 */
function lease(history: Doctored, by: string, token: number, at: number, options: LeaseOptions = {}): void {
  const { key = 'k1', once, doneToken, handed, renewAt, forMs = 200, end = 'released' } = options;
  const what = handed ? 'resume' : 'acquire';
  const lockId = `${by}#${token}`;
  const grant = { key, fencingToken: token };
  const served = { type: 'served', key, lockId, applied: true, since: START + at + 1 } as const;
  const sent = { type: 'sent', key, lockId } as const;
  history.add(by, at - 1, { type: 'attempt', key, leaseMs: LEASE_MS, waitMs: 0 });
  history.add(by, at, { ...sent, what, until: WALL + START + at + LEASE_MS, since: START + at });
  const asked = { what, owner: by, leaseMs: LEASE_MS, once: handed ? undefined : once, handed } as const;
  history.add('server', at + 2, { ...served, ...asked, record: recordOf(token, at, lockId, undefined, doneToken) });
  const deadline = (from: number) => WALL + START + from + LEASE_MS - SAFETY_MS;
  const terms = {
    leaseMs: LEASE_MS,
    safetyMs: SAFETY_MS,
    takenOver: false,
    ...(once && { once }),
    ...(handed && { handed }),
  };
  history.add(by, at + 4, { type: 'granted', ...grant, ...terms, lockId, deadline: deadline(at) });
  for (let step = 5; step < forMs; step += 50) history.add(by, at + step, { type: 'work', ...grant, asked: true });
  if (renewAt !== undefined) {
    const from = at + renewAt;
    const until = WALL + START + from + LEASE_MS;
    history.add(by, from, { ...sent, what: 'renew', until, since: START + from });
    history.add('server', from + 2, { ...served, what: 'renew', record: recordOf(token, at, lockId) });
    history.add(by, from + 4, { type: 'renewed', ...grant, until, deadline: deadline(from) });
  }
  if (end === 'lost') history.add(by, at + forMs, { type: 'lost', ...grant, reason: 'expired' });
  if (end === 'handedOff') history.add(by, at + forMs, { type: 'handedOff', ...grant, lockId });
  if (end !== 'released') return;
  history.add(by, at + forMs, { type: 'releasing', ...grant });
  history.add(by, at + forMs, { ...sent, what: 'release', since: START + at + forMs });
  const freed = recordOf(token, at, undefined, lockId, once);
  const since = START + at + forMs + 1;
  history.add('server', at + forMs + 2, { ...served, what: 'release', record: freed, since });
  history.add(by, at + forMs + 4, { type: 'released', ...grant, known: true, ...(once && { done: once }) });
}

/** Adds the lines of an acquire that the server refuses with a record. */
function refused(history: Doctored, by: string, at: number, record: Kept): void {
  const lockId = `${by}@${at}`;
  const asked = { key: 'k1', lockId, what: 'acquire' } as const;
  history.add(by, at, { type: 'sent', ...asked, since: START + at });
  const answer = { applied: false, owner: by, leaseMs: LEASE_MS, record, since: START + at + 1 };
  history.add('server', at + 2, { type: 'served', ...asked, ...answer });
}

const counting = (id: string, value: number, applied = true): Line => ({
  ...{ type: 'counting', counter: 'guarded', key: 'k1', id, value, applied, since: START },
});
const counted = (id: string, outcome: 'done' | 'refused' | 'unknown'): Line => ({
  ...{ type: 'counted', counter: 'guarded', key: 'k1', fencingToken: 1, id, outcome },
});

/**
 * A history without a fault. Under the lock k1:
 * - process 1 acquires, renews and releases;
 * - process 2 acquires, and loses the lease while it is frozen;
 * - process 3 takes the lock over;
 * - process 4 acquires, and is killed;
 * - process 3 takes the lock over again.
 *
 * Under the lock k2:
 * - process 1 begins the work of a once token, and hands the lease off;
 * - process 2 resumes the lease, and finishes the work;
 * - a second resume by process 1 is refused, and so is its acquire for the same token.
 */
function goodHistory(): Doctored {
  const history = new Doctored();
  for (const by of ['1.1', '2.1', '3.1', '4.1']) history.add(by, 0, { type: 'started', pid: 1, clock: 'goes on' });
  lease(history, '1.1', 1, 100, { renewAt: 166, forMs: 450 });
  history.add('server', 480, { type: 'fenced', key: 'k1', fencingToken: 1, applied: true, since: START + 479 });
  history.add('server', 490, counting('a', 1));
  history.add('1.1', 492, counted('a', 'done'));
  lease(history, '2.1', 2, 600, { forMs: 210, end: 'none' });
  history.add('nemesis', 815, { type: 'frozen', process: '2.1' });
  refused(history, '3.1', 700, recordOf(2, 600, '2.1#2'));
  lease(history, '3.1', 3, 1_150);
  history.add('server', 1_200, { type: 'fenced', key: 'k1', fencingToken: 3, applied: true, since: START + 1_199 });
  history.add('server', 1_210, counting('b', 2));
  history.add('nemesis', 1_990, { type: 'thawed', process: '2.1' });
  history.add('2.1', 2_000, { type: 'stalled', from: START + 810 });
  history.add('2.1', 2_001, { type: 'lost', key: 'k1', fencingToken: 2, reason: 'expired' });
  history.add('2.1', 2_010, counted('late', 'refused'));
  history.add('server', 2_020, { type: 'fenced', key: 'k1', fencingToken: 2, applied: false, since: START + 2_019 });
  lease(history, '4.1', 4, 2_100, { end: 'none' });
  history.add('nemesis', 2_310, { type: 'killed', process: '4.1' });
  const k2 = { key: 'k2', once: '7' } as const;
  lease(history, '1.1', 11, 2_100, { ...k2, end: 'handedOff' });
  lease(history, '2.1', 12, 2_320, { ...k2, handed: '1.1#11' });
  const second = { type: 'served', key: 'k2', what: 'resume', lockId: '1.1@2330', handed: '1.1#11' } as const;
  const standing = recordOf(12, 2_320, '2.1#12');
  history.add('server', 2_332, { ...second, owner: '1.1', applied: false, record: standing, since: START + 2_331 });
  history.add('1.1', 2_600, { type: 'refused', key: 'k2', error: 'LockDoneError', once: '7', doneToken: '7' });
  history.add('nemesis', 2_500, { type: 'task', task: 'the last', key: 'k1' });
  lease(history, '3.1', 5, 2_700);
  history.add('3.1', 2_800, { type: 'done', task: 'the last', key: 'k1' });
  for (const process of ['1.1', '2.1', '3.1']) history.add('nemesis', 3_000, { type: 'ended', process });
  return history;
}

describe('the checker', () => {
  test('finds no fault in a good history, and every check examines a case', () => {
    const checks = check(goodHistory().sorted);
    expect(checks.flatMap(({ findings }) => findings)).toEqual([]);
    expect(checks.filter(({ examined }) => examined === 0)).toEqual([]);
  });

  const doctored: [string, (history: Doctored) => void, Record<string, string[]>][] = [
    [
      'a grant before the deadline of a frozen holder',
      (history) => {
        history.drop({ by: '3.1', fencingToken: 3 });
        history.drop({ by: 'server', lockId: '3.1#3' });
        lease(history, '3.1', 3, 970, { forMs: 100 });
      },
      {
        'one holder: no grant before the deadline of the one before (1)': [
          '3.1 was granted k1 3.0 ms before 2.1, with the token 2, had ceased to believe that it holds it',
        ],
      },
    ],
    [
      'a grant over a holder that has renewed',
      (history) => {
        const renewal = { key: 'k1', lockId: '2.1#2' } as const;
        const until = WALL + START + 805 + LEASE_MS;
        history.add('2.1', 805, { type: 'sent', what: 'renew', ...renewal, until, since: START + 805 });
        const deadline = until - SAFETY_MS;
        history.add('2.1', 809, { type: 'renewed', key: 'k1', fencingToken: 2, until, deadline });
      },
      {
        'one holder: no grant before the deadline of the one before (1)': [
          '3.1 was granted k1 28.0 ms before 2.1, with the token 2, had ceased to believe that it holds it',
        ],
      },
    ],
    [
      'a grant whose token does not grow',
      (history) => {
        const taken = { type: 'served', what: 'acquire', key: 'k1', applied: true, since: START } as const;
        history.add('server', 2_900 + 50, { ...taken, lockId: 'x', record: recordOf(5, 2_950, 'x') });
      },
      { 'tokens only grow (2)': ['server: k1 has the token 5, after 5'] },
    ],
    [
      'a late acquire that revives a released lease',
      (history) => {
        const again = { type: 'served', what: 'acquire', key: 'k1', applied: true, owner: '1.1' } as const;
        history.add('server', 2_950, { ...again, lockId: '1.1#1', record: recordOf(6, 100, '1.1#1'), since: START });
      },
      {
        'a repeated request grants nothing again (3)': [
          'k1 was granted to 1.1 a second time by one and the same attempt',
        ],
      },
    ],
    [
      'a deadline that counts from the answer',
      (history) => {
        history.drop({ type: 'granted', fencingToken: 3 });
        const grant = { key: 'k1', fencingToken: 3, lockId: '3.1#3', leaseMs: LEASE_MS, safetyMs: SAFETY_MS };
        const deadline = WALL + START + 1_154 + LEASE_MS - SAFETY_MS;
        history.add('3.1', 1_154, { type: 'granted', ...grant, deadline, takenOver: true });
      },
      {
        'the clock starts before the request (4)': ['3.1 believes in k1 for 4.0 ms longer than its sending allows'],
      },
    ],
    [
      'a work step whose isHeld() is true after the deadline',
      (history) => history.add('2.1', 2_000, { type: 'work', key: 'k1', fencingToken: 2, asked: true }),
      {
        'nothing is held or renewed after its deadline (5)': [
          '2.1 was told that it holds k1, 1025.0 ms after its deadline',
        ],
      },
    ],
    [
      'a renewal that is sent after the deadline',
      (history) => {
        const until = WALL + START + 2_000 + LEASE_MS;
        const renewal = { what: 'renew', key: 'k1', lockId: '2.1#2', until } as const;
        history.add('2.1', 2_000, { type: 'sent', ...renewal, since: START + 1_999 });
      },
      { 'nothing is held or renewed after its deadline (5)': ['2.1 renews k1, 1024.0 ms after its deadline'] },
    ],
    [
      'a signal that aborts after the expiry in a running process',
      (history) => {
        history.drop({ type: 'stalled', by: '2.1' });
        history.add('2.1', 1_000, { type: 'stalled', from: START + 810 });
      },
      {
        'the holder is told before the expiry (6)': [
          '2.1, which was running, was told 901.0 ms after its expiry that k1 is lost',
        ],
      },
    ],
    [
      'a holder whose signal does not abort at holdAtMostMs',
      (history) => {
        history.drop({ type: 'granted', fencingToken: 1 });
        const grant = { key: 'k1', fencingToken: 1, lockId: '1.1#1', leaseMs: LEASE_MS, safetyMs: SAFETY_MS };
        const deadline = WALL + START + 100 + 200;
        history.add('1.1', 104, { type: 'granted', ...grant, atMostMs: 200, deadline, takenOver: false });
        history.drop({ type: 'renewed', fencingToken: 1 });
        history.drop({ type: 'work', fencingToken: 1 });
      },
      {
        'the holder is told before the expiry (6)': [
          '1.1, which was running, was told 125.0 ms after its expiry that k1 is lost',
        ],
      },
    ],
    [
      'a signal that never aborts',
      (history) => {
        history.drop({ type: 'lost', by: '2.1' });
        history.drop({ type: 'stalled', by: '2.1' });
      },
      { 'the holder is told before the expiry (6)': ['2.1, which was running, was told never that k1 is lost'] },
    ],
    [
      'a lost lease under which its process works again',
      (history) => {
        lease(history, '1.1', 6, 2_950, { forMs: 20, end: 'lost' });
        history.add('1.1', 2_980, { type: 'work', key: 'k1', fencingToken: 6, asked: true });
      },
      { 'lost and handed off are final (7)': ['1.1 had lost k1, and 10.0 ms later it is work'] },
    ],
    [
      'a handed-off lease under which its process still works',
      (history) => history.add('1.1', 2_310, { type: 'work', key: 'k2', fencingToken: 11, asked: true }),
      { 'lost and handed off are final (7)': ['1.1 had handed off k2, and 10.0 ms later it is work'] },
    ],
    [
      'a lease that is resumed while the previous process still holds it',
      (history) => {
        history.drop({ type: 'handedOff' });
        history.add('1.1', 2_330, { type: 'handedOff', key: 'k2', fencingToken: 11, lockId: '1.1#11' });
      },
      {
        'one holder: no grant before the deadline of the one before (1)': [
          '2.1 was granted k2 8.0 ms before 1.1, with the token 11, had ceased to believe that it holds it',
        ],
      },
    ],
    [
      'a handle that two processes resume',
      (history) => {
        const grant = {
          key: 'k2',
          fencingToken: 13,
          lockId: '1.1@2330',
          leaseMs: LEASE_MS,
          safetyMs: SAFETY_MS,
        } as const;
        history.add('1.1', 2_330, {
          type: 'sent',
          key: 'k2',
          what: 'resume',
          lockId: '1.1@2330',
          since: START + 2_330,
        });
        const deadline = WALL + START + 2_330 + LEASE_MS - SAFETY_MS;
        history.add('1.1', 2_334, { type: 'granted', ...grant, deadline, takenOver: false, handed: '1.1#11' });
        history.add('1.1', 2_335, { type: 'lost', key: 'k2', fencingToken: 13, reason: 'takenOver' });
      },
      {
        'one holder: no grant before the deadline of the one before (1)': [
          '1.1 was granted k2 186.0 ms before 2.1, with the token 12, had ceased to believe that it holds it',
        ],
        'of the resumes of one handle one is granted, on a grant that stands': [
          '2.1 and 1.1 both resumed k2 with one handle',
        ],
      },
    ],
    [
      'a resume of a grant that the record no longer has',
      (history) => {
        const late = {
          type: 'served',
          key: 'k2',
          what: 'resume',
          lockId: 'x',
          handed: '1.1#11',
          applied: true,
        } as const;
        const record = recordOf(13, 2_700, 'x', '2.1#12', '7');
        history.add('server', 2_700, { ...late, owner: '3.1', record, since: START + 2_699 });
      },
      {
        'of the resumes of one handle one is granted, on a grant that stands': [
          '3.1 resumed k2, though the grant that was handed off did not stand any more',
        ],
      },
    ],
    [
      'a grant for a finished token whose work is then done once more',
      (history) => lease(history, '3.1', 13, 2_550, { key: 'k2', once: '7', doneToken: '7', forMs: 100 }),
      {
        "no token's work is done twice to the end": [
          "3.1 was granted k2 for '7', and '7' was done",
          "2.1 and 3.1 both finished the work of '7' under k2",
        ],
      },
    ],
    [
      'a refusal that calls a token done before the token has finished',
      (history) => history.add('3.1', 2_400, { type: 'refused', key: 'k2', error: '', once: '7', doneToken: '7' }),
      {
        'what is called done has finished, and stays done': ["3.1 was told that '7' is done under k2, and it is not"],
      },
    ],
    [
      'a release that reports its token as done, and does not write the token',
      (history) => {
        history.drop({ type: 'refused', key: 'k2' });
        history.drop({ by: 'server', what: 'release', key: 'k2' });
        const freed = { type: 'served', what: 'release', key: 'k2', lockId: '2.1#12', applied: true } as const;
        history.add('server', 2_522, {
          ...freed,
          record: recordOf(12, 2_320, undefined, '2.1#12'),
          since: START + 2_521,
        });
      },
      {
        'what is called done has finished, and stays done': ["2.1 was told that '7' is done under k2, and it is not"],
      },
    ],
    [
      'a finished token that an earlier token replaces',
      (history) => {
        const freed = { type: 'served', what: 'release', key: 'k2', lockId: 'x', applied: true } as const;
        const taken = { type: 'served', what: 'acquire', key: 'k2', lockId: 'x', applied: true, owner: '3.1' } as const;
        const since = START + 2_700;
        history.add('server', 2_701, { ...taken, record: recordOf(13, 2_700, 'x', '2.1#12', '7'), since });
        history.add('server', 2_702, { ...freed, record: recordOf(13, 2_700, undefined, 'x', '6'), since });
      },
      {
        'what is called done has finished, and stays done': ["server: '6' is done under k2, after '7'"],
      },
    ],
    [
      "a release of another owner's lease",
      (history) => {
        const release = { type: 'served', what: 'release', key: 'k1', lockId: '1.1#1', applied: true } as const;
        history.add('server', 2_400, { ...release, record: recordOf(4, 2_100, undefined, '1.1#1'), since: START });
      },
      {
        'nobody renews, releases or gives back what is not theirs (9)': [
          "a release of k1 was applied, though the lock was somebody else's",
        ],
      },
    ],
    [
      'a release under work that goes on',
      (history) => {
        const release = { type: 'sent', what: 'release', key: 'k1', lockId: '2.1#2' } as const;
        history.add('2.1', 815, { ...release, since: START + 815 });
      },
      { 'nothing is released under work that goes on (9)': ['the lease of 2.1 on k1 is released under its work'] },
    ],
    [
      "a fenced resource that accepts a late holder's token",
      (history) => {
        const late = { type: 'fenced', key: 'k1', fencingToken: 2, applied: true } as const;
        history.add('server', 2_030, { ...late, since: START });
      },
      {
        'a fenced resource accepts no lower token': ['the fenced resource of k1 accepted the token 2 after 3'],
      },
    ],
    [
      'an overwritten update of the guarded counter',
      (history) => history.add('server', 2_850, counting('c', 2)),
      { 'a guarded counter loses no update': ['the guarded counter of k1 was set to 2 after 2, and 3 was expected'] },
    ],
    [
      'a repeated guarded write that sets the counter back',
      (history) => history.add('server', 2_850, counting('a', 1)),
      { 'a guarded counter loses no update': ['the guarded counter of k1 was set to 1 after 2, and 2 was expected'] },
    ],
    [
      'a guarded write that was reported as done and was not applied',
      (history) => history.add('3.1', 2_850, counted('c', 'done')),
      {
        'a guarded counter loses no update': [
          '3.1 was told that its guarded write under k1 was done, and it was not written',
        ],
      },
    ],
    [
      'a guarded write that was reported as refused and was applied',
      (history) => history.add('3.1', 2_850, counted('b', 'refused')),
      {
        'a guarded counter loses no update': [
          '3.1 was told that its guarded write under k1 was refused, and it was written',
        ],
      },
    ],
    [
      'a lease that outlives its owner',
      (history) => {
        for (const at of [7_500, 8_000]) refused(history, '2.1', at, recordOf(5, 2_700, '3.1#5'));
      },
      {
        'no lease is left without an owner longer than its expiry': [
          'k1 is left without an owner, and still closed 3600.0 ms after it should have opened',
        ],
      },
    ],
    [
      'a task that no process does',
      (history) => history.drop({ type: 'done', task: 'the last' }),
      { 'every task is done': ["the task 'the last' was not done"] },
    ],
    [
      'a process that crashes',
      (history) => {
        history.drop({ type: 'ended', process: '2.1' });
        history.add('nemesis', 2_900, { type: 'crashed', process: '2.1', how: 'exit code 1' });
      },
      {
        'a process ends when it is told to, and by itself (12)': ['2.1 ended otherwise than it was told: exit code 1'],
      },
    ],
  ];

  test.each(doctored)('finds %s', (_fault, doctor, findings) => {
    const history = goodHistory();
    doctor(history);
    expect(history.findings).toEqual(findings);
  });

  test('excuses a late loss in a frozen process', () => {
    const history = goodHistory();
    history.drop({ type: 'lost', by: '2.1' });
    history.add('2.1', 2_001, { type: 'lost', key: 'k1', fencingToken: 2, reason: 'expired' });
    expect(history.findings).toEqual({});
  });

  test('does not count the belief of a killed process', () => {
    const history = goodHistory();
    lease(history, '1.1', 6, 2_950, { forMs: 20, end: 'none' });
    history.drop({ type: 'ended', process: '1.1' });
    history.add('nemesis', 2_975, { type: 'killed', process: '1.1' });
    lease(history, '3.1', 7, 3_500);
    expect(history.findings).toEqual({});
  });

  test('allows a late grant to an attempt that was given back, since no process believes in the grant', () => {
    const history = goodHistory();
    const ghost = { type: 'served', key: 'k1', lockId: 'ghost', applied: true, since: START } as const;
    const granted = { ...ghost, what: 'acquire', owner: '2.1', leaseMs: LEASE_MS } as const;
    history.add('server', 2_910, { ...granted, record: recordOf(6, 2_910, 'ghost') });
    history.add('server', 2_912, { ...ghost, what: 'giveBack', record: recordOf(6, 2_700, undefined, 'ghost') });
    history.add('server', 2_950, { ...granted, record: recordOf(7, 2_910, 'ghost') });
    expect(history.findings).toEqual({});
  });

  test('calls a lock stuck only after a second attempt of the same process, since the clock of the first attempt may be wrong', () => {
    const history = goodHistory();
    const record = recordOf(5, 2_700, '3.1#5');
    refused(history, '2.1', 7_500, record);
    // The same request is delivered twice.
    const again = { type: 'served', what: 'acquire', key: 'k1', lockId: '2.1@7500', applied: false } as const;
    history.add('server', 7_600, { ...again, owner: '2.1', leaseMs: LEASE_MS, record, since: START + 7_599 });
    expect(history.findings).toEqual({});
  });
});

describe('the report', () => {
  const reportOn = (history: Doctored): string => {
    const checks: Check[] = check(history.sorted);
    return report(history.sorted, checks);
  };

  test('counts the grants, the faults and the writes', () => {
    const text = reportOn(goodHistory());
    expect(text).toContain('7 grants, 0 of them takeovers, 1 renewals, 1 losses, 4 releases');
    expect(text).toContain(
      '2 grants for a token, 1 of them finished, 1 told that it is done already, 1 leases handed off, 0 resumes tried, 1 leases resumed',
    );
    expect(text).toContain('1 kills, 1 freezes');
    expect(text).toContain('the guarded counter: 1 successes reported, 1 refused, 0 unknown, 2 written in all');
    expect(text).not.toContain('FAULT');
  });

  test('counts the lost updates of the unguarded counter', () => {
    const history = goodHistory();
    const unguarded = { ...counting('x', 1), counter: 'unguarded' } as Line;
    history.add('server', 2_851, unguarded);
    history.add('server', 2_852, { ...unguarded, id: 'y' } as Line);
    expect(reportOn(history)).toMatch(
      /the unguarded counter: .* 2 written in all, 1 the count in the end, 1 updates lost/,
    );
  });

  test('draws the slice of a fault, with the holders, the grants and every line', () => {
    const history = goodHistory();
    history.drop({ by: '3.1', fencingToken: 3 });
    history.drop({ by: 'server', lockId: '3.1#3' });
    lease(history, '3.1', 3, 900, { forMs: 100 });
    const text = reportOn(history);
    expect(text).toContain('FAULT: one holder');
    expect(text).toMatch(/ 2\.1 +\| +[?G]G?(=+w)+~?Z~/);
    expect(text).toMatch(/ 3\.1 +\| .*G=*w?=*w?=*>/);
    expect(text).toMatch(/ server +\| +> +G +G/);
    expect(text).toMatch(/0\.9040 3\.1 +granted \{.*fencingToken:3/);
    expect(text).not.toMatch(/NaN|undefined/);
  });
});
