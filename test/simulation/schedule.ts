/** What a schedule is, and how schedules are made: by fast-check, so that a failing one can be shrunk. */
import fc from 'fast-check';

/** How the hosts of a schedule keep their leases. */
export const TIMINGS = [
  { leaseMs: 2_000, heartbeatMs: 600, safetyMs: 500 },
  { leaseMs: 1_000, heartbeatMs: 300, safetyMs: 250 },
  { leaseMs: 8_000, heartbeatMs: 2_600, safetyMs: 2_000 },
] as const;

export const REQUEST_TIMEOUT_MS = 300;
export const HAND_OFF_MS = 3_000;
export const HOLD_AT_LEAST_MS = 1_500;
export const HOLD_AT_MOST_MS = 1_300;
/** How long an invocation lasts. */
export const REMAINING_MS = 1_700;
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
const BLOWS = ['crash', 'freeze', 'freezeStill', 'setClock', 'close', 'sweep'] as const;
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

/** By how much a wall clock is wrong: a part of what is allowed, in thousandths; and hours, where answers are dated. */
interface ClockError {
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
  readonly hosts: readonly { readonly clock: ClockError; readonly ratePpm: number; readonly deeds: readonly Deed[] }[];
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
  hours: fc.constantFrom(0, 0, -1, 1),
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
  backMs: fc.oneof({ weight: 5, arbitrary: ms(40) }, { weight: 1, arbitrary: ms(1_500) }),
  againMs: shortOrLong(60, 5_000),
});
const host = fc.record({
  clock,
  ratePpm: fc.integer({ min: -RATE_PPM, max: RATE_PPM }),
  deeds: fc.array(deed, { minLength: 1, maxLength: 6, size: 'max' }),
});

export const schedules: fc.Arbitrary<Schedule> = fc.record({
  timing: ms(TIMINGS.length - 1),
  dated: fc.boolean(),
  hosts: fc.array(host, { minLength: 2, maxLength: 4, size: 'max' }),
  blows: fc.array(blow, { maxLength: 3, size: 'max' }),
  fates: fc.array(fate, { maxLength: 40, size: 'max' }),
  seed: fc.nat(),
});
