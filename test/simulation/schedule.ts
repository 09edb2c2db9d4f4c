/** The schedules of the simulation. fast-check makes them, and shrinks a schedule that fails. */
import fc from 'fast-check';

/** The timings of leases. All hosts of a schedule have the same timing. */
export const TIMINGS = [
  { leaseMs: 2_000, heartbeatMs: 600, safetyMs: 500 },
  { leaseMs: 1_000, heartbeatMs: 300, safetyMs: 250 },
  { leaseMs: 8_000, heartbeatMs: 2_600, safetyMs: 2_000 },
  // These leases are not whole seconds long, unlike the dates of answers.
  { leaseMs: 8_900, heartbeatMs: 2_900, safetyMs: 2_000 },
  { leaseMs: 19_960, heartbeatMs: 6_600, safetyMs: 2_000 },
] as const;

export const REQUEST_TIMEOUT_MS = 300;
/** The default `requestTimeoutMs` of clients. */
export const LONG_REQUEST_TIMEOUT_MS = 1_000;
export const HAND_OFF_MS = 3_000;
/** Longer than two of the leases, so that the hold outlasts a holder that dies. */
export const HOLD_AT_LEAST_MS = 2_500;
export const HOLD_AT_MOST_MS = 1_300;
/** The duration of an invocation. */
export const REMAINING_MS = 1_700;
export const MINUTE_MS = 60_000;
export const HOUR_MS = 3_600_000;
/**
 * The time for which TTL keeps a record beyond its expiry. This time is:
 * - longer than any message is late, like the 7 days of a real table;
 * - longer than two clocks differ. A clock can be off by two hours, since the skew that a host learned is added to the
 *   host's clock once more when the clock is set.
 */
export const retentionMs = ({ dated }: Pick<Schedule, 'dated'>): number => 15_000 + (dated ? 5 * HOUR_MS : 0);
/** Clocks go fast or slow by up to 0.05%. */
export const RATE_PPM = 500;

const DEEDS = [
  'try',
  'wait',
  'cancelWait',
  'renew',
  'release',
  'finish',
  'handOff',
  'resume',
  'commit',
  'force',
  'look',
] as const;
const OPTIONS = ['plain', 'once', 'holdAtLeast', 'holdAtMost', 'invocation'] as const;
const BLOWS = ['crash', 'cutOff', 'freeze', 'freezeStill', 'setClock', 'close', 'sweep'] as const;
const FATES = ['travel', 'duplicate', 'resend', 'loseRequest', 'loseAnswer', 'hang', 'hangAnswer', 'conflict'] as const;

/** An action of a host. The host does it `afterMs` after the end of its last deed. */
export interface Deed {
  readonly do: (typeof DEEDS)[number];
  readonly afterMs: number;
  /** The time for which the host waits for a lock. */
  readonly forMs: number;
  readonly with: (typeof OPTIONS)[number];
}

/**
 * A disturbance of a host at `atMs`, at any point of its deeds. A `sweep` concerns the store: from `atMs` on, TTL deletes
 * the record `forMs` after the record's `ttl`.
 */
export interface Blow {
  readonly do: (typeof BLOWS)[number];
  readonly host: number;
  readonly atMs: number;
  readonly forMs: number;
  readonly clock: ClockError;
}

/**
 * The error of a wall clock: thousandths of the allowed error, and hours (whole or a fraction) if answers are dated.
 */
export interface ClockError {
  readonly permille: number;
  readonly hours: number;
}

/** The fate of the messages of one request. */
export interface Fate {
  readonly do: (typeof FATES)[number];
  readonly thereMs: number;
  readonly backMs: number;
  /** The delay of the second delivery. For an eventually consistent read: the age of the record that the read shows. */
  readonly againMs: number;
}

export interface Schedule {
  readonly timing: number;
  /**
   * With true, hosts load an object, judge it and swap it, each by a request of its own. Without, the server judges. Each
   * generated schedule is run in both ways.
   */
  readonly swaps?: boolean;
  /** With true, answers carry the server's date, and hosts' clocks may be hours off. */
  readonly dated: boolean;
  /**
   * With true, all clocks are disciplined, so no judge read comes before a write. Generated clocks are right then. The
   * clocks of schedules that failed once may be wrong.
   */
  readonly lambda?: boolean;
  /** With true, clients have the default `requestTimeoutMs`. */
  readonly patient?: boolean;
  readonly hosts: readonly {
    readonly clock: ClockError;
    readonly ratePpm: number;
    readonly deeds: readonly Deed[];
    /**
     * The host reaches the store over a relay. The relay's dates are this many seconds ahead. Unless the value is 0, the
     * host's own clock is right, and is not set.
     */
    readonly relayS?: number;
  }[];
  readonly blows: readonly Blow[];
  /** The fates of the requests, in the order of sending. Later requests travel undisturbed. */
  readonly fates: readonly Fate[];
  /** The seed of the jitter. */
  readonly seed: number;
}

export const ms = (max: number) => fc.nat({ max });
export const shortOrLong = (short: number, long: number) =>
  fc.oneof({ weight: 3, arbitrary: ms(short) }, { weight: 1, arbitrary: ms(long) });

const clock: fc.Arbitrary<ClockError> = fc.record({
  permille: fc.integer({ min: -1_000, max: 1_000 }),
  hours: fc.constantFrom(0, 0, 0, -1, 1, -1 / 30, 1 / 30),
});
const deed: fc.Arbitrary<Deed> = fc.record({
  do: fc.constantFrom(...DEEDS, 'try', 'wait', 'wait'),
  // A few pauses are long enough for TTL to delete a record.
  afterMs: fc.oneof(
    { weight: 36, arbitrary: ms(200) },
    { weight: 12, arbitrary: ms(3_000) },
    { weight: 1, arbitrary: ms(30_000) },
  ),
  forMs: shortOrLong(800, 6_000),
  with: fc.constantFrom(...OPTIONS, 'plain', 'plain'),
});
const blow: fc.Arbitrary<Blow> = fc.record({
  do: fc.constantFrom(...BLOWS),
  host: ms(3),
  atMs: ms(6_000),
  forMs: shortOrLong(700, 9_000),
  clock,
});
export const fate: fc.Arbitrary<Fate> = fc.record({
  do: fc.constantFrom(...FATES, 'travel', 'travel', 'travel', 'travel', 'travel', 'travel'),
  thereMs: fc.oneof({ weight: 5, arbitrary: ms(40) }, { weight: 1, arbitrary: ms(4_000) }),
  backMs: fc.oneof(
    { weight: 10, arbitrary: ms(40) },
    { weight: 1, arbitrary: ms(1_500) },
    // The answer comes just before the client gives the request up.
    { weight: 1, arbitrary: fc.integer({ min: 850, max: 990 }) },
  ),
  againMs: shortOrLong(60, 5_000),
});
const host = fc.record({
  clock,
  ratePpm: fc.integer({ min: -RATE_PPM, max: RATE_PPM }),
  deeds: fc.array(deed, { minLength: 1, maxLength: 6, size: 'max' }),
  relayS: fc.constantFrom(undefined, undefined, undefined, undefined, 0, 3, -3, 60, -60, 600, -600),
});

const anySchedule: fc.Arbitrary<Schedule> = fc.record({
  timing: ms(TIMINGS.length - 1),
  dated: fc.boolean(),
  lambda: fc.boolean(),
  patient: fc.boolean(),
  hosts: fc.array(host, { minLength: 2, maxLength: 4, size: 'max' }) as fc.Arbitrary<Schedule['hosts']>,
  blows: fc.array(blow, { maxLength: 3, size: 'max' }),
  fates: fc.array(fate, { maxLength: 40, size: 'max' }),
  seed: fc.nat(),
});

/**
 * Chance alone hardly ever makes these schedules:
 * 1. The first host is behind, and one slow answer cannot tell that. It is the answer of the acquire. With `stoodMs`, it
 *    is the answer of the judge read, and the host's clock stands still for `stoodMs` during the acquire.
 * 2. The first host is cut off.
 * 3. The second host is ahead, and no answer has judged its clock. It comes when the lease has expired by its own clock.
 */
const slowAnswer: fc.Arbitrary<Schedule> = fc
  .record({
    timing: fc.integer({ min: 2, max: TIMINGS.length - 1 }),
    behindMs: fc.integer({ min: 1_500, max: 2_000 }),
    aheadMs: fc.integer({ min: 750, max: 1_000 }),
    startMs: ms(999),
    thereMs: ms(10),
    backMs: fc.integer({ min: 850, max: 990 }),
    lateMs: ms(120),
    stoodMs: fc.oneof(fc.constant(undefined), fc.integer({ min: 101, max: 300 })),
    seed: fc.nat(),
  })
  .map(({ timing, behindMs, aheadMs, startMs, thereMs, backMs, lateMs, stoodMs, seed }) => {
    const { leaseMs } = TIMINGS[timing] as (typeof TIMINGS)[number];
    const host = (offsetMs: number, afterMs: number) => ({
      clock: { permille: offsetMs / 3, hours: 0 },
      ratePpm: 0,
      deeds: [
        { do: 'try', afterMs, forMs: 0, with: 'plain' },
        { do: 'look', afterMs: 30_000, forMs: 0, with: 'plain' },
      ] as const,
    });
    const blow = (kind: Blow['do'], atMs: number, forMs: number): Blow => ({
      do: kind,
      host: 0,
      atMs,
      forMs,
      clock: { permille: 0, hours: 0 },
    });
    const travel = (thereMs: number, backMs: number): Fate => ({ do: 'travel', thereMs, backMs, againMs: 0 });
    const answeredMs = startMs + thereMs + backMs;
    const sentMs = stoodMs === undefined ? startMs : answeredMs;
    const expiresMs = sentMs - behindMs + leaseMs;
    return {
      timing,
      dated: true,
      lambda: stoodMs === undefined,
      patient: true,
      hosts: [host(-behindMs, startMs), host(aheadMs, expiresMs - aheadMs + lateMs)],
      blows:
        stoodMs === undefined
          ? [blow('cutOff', answeredMs, 60_000)]
          : [blow('freezeStill', answeredMs + 20, stoodMs), blow('cutOff', answeredMs + 600, 60_000)],
      fates: stoodMs === undefined ? [travel(thereMs, backMs)] : [travel(thereMs, backMs), travel(5, 200)],
      seed,
    };
  });

export const schedules: fc.Arbitrary<Schedule> = fc.oneof(
  {
    weight: 19,
    arbitrary: anySchedule.map((schedule) =>
      schedule.lambda
        ? { ...schedule, hosts: disciplined(schedule.hosts), blows: disciplined(schedule.blows) }
        : schedule,
    ),
  },
  { weight: 1, arbitrary: slowAnswer },
);

const disciplined = <Item extends { readonly clock: ClockError }>(items: readonly Item[]): Item[] =>
  items.map((item) => ({ ...item, clock: { ...item.clock, hours: 0 } }));
