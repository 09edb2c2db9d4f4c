/** The schedules of the primitives: what each host does, what befalls the hosts, and the fates of the requests. */
import fc from 'fast-check';
import { type Fate, fate, ms, RATE_PPM, shortOrLong } from '../schedule.ts';

const BLOWS = ['crash', 'freeze', 'cutOff', 'close'] as const;

/** Something that a host does. Each primitive gives the numbers a meaning. */
export interface Deed {
  /** The time from the host's deed before to this deed. The deeds of a host may overlap. */
  readonly atMs: number;
  /** The time that the work takes. */
  readonly workMs: number;
  /** The time that the host waits for a lock. */
  readonly waitMs: number;
  readonly pick: number;
  readonly fails: boolean;
}

interface Blow {
  readonly do: (typeof BLOWS)[number];
  readonly host: number;
  readonly atMs: number;
  readonly forMs: number;
}

export interface Plan {
  readonly swaps: boolean;
  readonly hosts: readonly {
    /** Thousandths of the error that a clock may have. */
    readonly permille: number;
    readonly ratePpm: number;
    readonly deeds: readonly Deed[];
  }[];
  readonly blows: readonly Blow[];
  readonly fates: readonly Fate[];
  readonly seed: number;
}

const deed: fc.Arbitrary<Deed> = fc.record({
  atMs: shortOrLong(800, 8_000),
  workMs: shortOrLong(300, 3_000),
  waitMs: fc.oneof(fc.constant(0), shortOrLong(1_000, 8_000)),
  pick: fc.nat({ max: 255 }),
  fails: fc.integer({ min: 0, max: 5 }).map((n) => n === 0),
});

export const plans: fc.Arbitrary<Plan> = fc.record({
  swaps: fc.boolean(),
  hosts: fc.array(
    fc.record({
      permille: fc.integer({ min: -1_000, max: 1_000 }),
      ratePpm: fc.integer({ min: -RATE_PPM, max: RATE_PPM }),
      deeds: fc.array(deed, { minLength: 1, maxLength: 6, size: 'max' }),
    }),
    { minLength: 2, maxLength: 4, size: 'max' },
  ),
  blows: fc.array(
    fc.record({
      do: fc.constantFrom(...BLOWS, 'crash' as const),
      host: ms(3),
      atMs: ms(8_000),
      forMs: shortOrLong(700, 5_000),
    }),
    { maxLength: 4, size: 'max' },
  ),
  fates: fc.array(fate, { maxLength: 60, size: 'max' }),
  seed: fc.nat(),
});
