/** What a schedule is, and how schedules are made: by fast-check, so that a failing one can be shrunk. */
import fc from 'fast-check';

/** How the hosts of a schedule keep their leases. */
export const TIMINGS = [
  { leaseMs: 2_000, heartbeatMs: 600, safetyMs: 500 },
  { leaseMs: 1_000, heartbeatMs: 300, safetyMs: 250 },
  { leaseMs: 8_000, heartbeatMs: 2_600, safetyMs: 2_000 },
  // No whole seconds, as the dates of answers are.
  { leaseMs: 8_900, heartbeatMs: 2_900, safetyMs: 2_000 },
  { leaseMs: 19_960, heartbeatMs: 6_600, safetyMs: 2_000 },
] as const;

export const REQUEST_TIMEOUT_MS = 300;
/** The default of clients. */
export const LONG_REQUEST_TIMEOUT_MS = 1_000;
export const HAND_OFF_MS = 3_000;
export const HOLD_AT_LEAST_MS = 1_500;
export const HOLD_AT_MOST_MS = 1_300;
/** How long an invocation lasts. */
export const REMAINING_MS = 1_700;
export const MINUTE_MS = 60_000;
export const HOUR_MS = 3_600_000;
/**
 * How long TTL keeps a record beyond its expiry. As the 7 days of a real table it is longer than any message is late, and,
 * where clocks are wrong by an hour, than two clocks differ: by two hours each, since what was learned of a clock is added
 * to it once more when it is set.
 */
export const retentionMs = ({ dated }: Pick<Schedule, 'dated'>): number => 15_000 + (dated ? 5 * HOUR_MS : 0);
/** Clocks go fast or slow by up to 0.05%. */
const RATE_PPM = 500;

const DEEDS = [
  'try',
  'wait',
  'cancelWait',
  'renew',
  'release',
  'finish',
  'handOff',
  'resume',
  'force',
  'look',
] as const;
const OPTIONS = ['plain', 'once', 'holdAtLeast', 'holdAtMost', 'invocation'] as const;
const BLOWS = ['crash', 'cutOff', 'freeze', 'freezeStill', 'setClock', 'close', 'sweep'] as const;
const FATES = ['travel', 'duplicate', 'resend', 'loseRequest', 'loseAnswer', 'hang', 'hangAnswer', 'conflict'] as const;

/** One thing that a host does when it has done the one before and `afterMs` have passed. */
export interface Deed {
  readonly do: (typeof DEEDS)[number];
  readonly afterMs: number;
  /** How long it waits for a lock. */
  readonly forMs: number;
  readonly with: (typeof OPTIONS)[number];
}

/**
 * Something that befalls a host, whatever it is doing; or, `sweep`, everybody: from `atMs` on, TTL deletes the record
 * `forMs` after its time.
 */
export interface Blow {
  readonly do: (typeof BLOWS)[number];
  readonly host: number;
  readonly atMs: number;
  readonly forMs: number;
  readonly clock: ClockError;
}

/**
 * By how much a wall clock is wrong: a part of what is allowed, in thousandths; and hours, or parts of one, where answers
 * are dated.
 */
export interface ClockError {
  readonly permille: number;
  readonly hours: number;
}

/** What becomes of the messages of one request. */
export interface Fate {
  readonly do: (typeof FATES)[number];
  readonly thereMs: number;
  readonly backMs: number;
  /** When it comes again, or, for an eventually consistent read, by how much it lags behind. */
  readonly againMs: number;
}

export interface Schedule {
  readonly timing: number;
  /** Whether the answers carry the server's date: hosts' clocks may then be wrong by hours. */
  readonly dated: boolean;
  /**
   * Whether all clocks are disciplined, so that no answer judges them before they write. Those that are made are then right;
   * what failed once may have others.
   */
  readonly lambda?: boolean;
  /** Whether clients are as patient with one request as they are by default. */
  readonly patient?: boolean;
  readonly hosts: readonly {
    readonly clock: ClockError;
    readonly ratePpm: number;
    readonly deeds: readonly Deed[];
    /**
     * The host reaches the store over a relay, which writes dates of its own, so many seconds ahead. Where that is not 0,
     * the host's own clock is right, and is not set.
     */
    readonly relayS?: number;
  }[];
  readonly blows: readonly Blow[];
  /** Of the requests, in the order in which they are sent; those after them travel undisturbed. */
  readonly fates: readonly Fate[];
  /** Of the jitter. */
  readonly seed: number;
}

const ms = (max: number) => fc.nat({ max });
const shortOrLong = (short: number, long: number) =>
  fc.oneof({ weight: 3, arbitrary: ms(short) }, { weight: 1, arbitrary: ms(long) });

const clock: fc.Arbitrary<ClockError> = fc.record({
  permille: fc.integer({ min: -1_000, max: 1_000 }),
  hours: fc.constantFrom(0, 0, 0, -1, 1, -1 / 30, 1 / 30),
});
const deed: fc.Arbitrary<Deed> = fc.record({
  do: fc.constantFrom(...DEEDS, 'try', 'wait', 'wait'),
  // Now and then long enough for a record to be swept.
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
const fate: fc.Arbitrary<Fate> = fc.record({
  do: fc.constantFrom(...FATES, 'travel', 'travel', 'travel', 'travel', 'travel', 'travel'),
  thereMs: fc.oneof({ weight: 5, arbitrary: ms(40) }, { weight: 1, arbitrary: ms(4_000) }),
  backMs: fc.oneof(
    { weight: 10, arbitrary: ms(40) },
    { weight: 1, arbitrary: ms(1_500) },
    // Almost so long that the request is given up.
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
 * A host is behind, and one slow answer cannot tell it so: that of its acquire, or, with `stoodMs`, that of the read that
 * judges its clock, which stands still for so long during the acquire. Then it is cut off. Another one, which is ahead, comes
 * as soon as the lease has expired by its own clock, and was told nothing before. Schedules that are made of chance alone
 * hardly ever come to that.
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
