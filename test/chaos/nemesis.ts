/** What is done to the processes, when, and to whom: a plan, the same for the same seed. */
import type { Fault, Rule } from '../support/fault-proxy.ts';
import { type Operation, operationOf } from './history.ts';
import { between, oneOf, randomOf } from './random.ts';

/** One blow. `at` is in milliseconds from the start, `process` counts from 1. */
export type Blow = { readonly at: number; readonly process: number } & (
  | { readonly do: 'kill' | 'freeze' | 'cut' | 'outage' | 'freezeServer'; readonly forMs: number }
  | { readonly do: 'shift'; readonly offsetMs: number }
  | { readonly do: 'fault'; readonly fault: Fault; readonly on: Target; readonly times: number }
);

/** Which requests a fault meets. `work`: the writes that are done under the locks. */
type Target = Operation | 'work' | 'any';

/**
 * Two clocks are right within this: under the safety of the shortest lease, 125 ms, together. Without it nothing is
 * promised of them until they are off by a second.
 */
export const SMALL_OFFSET_MS = 55;
export const HOUR_MS = 3_600_000;
/** How many blows of each kind fall in a minute, on all processes together. */
const PER_MINUTE: Readonly<Record<Blow['do'], number>> = {
  fault: 300,
  freeze: 50,
  kill: 20,
  cut: 40,
  outage: 12,
  shift: 20,
  freezeServer: 4,
};

export interface ClockPlan {
  /** The processes whose wall clocks are set while they run; also while they are frozen or cut off, to be worst. */
  readonly shifted: readonly number[];
  /** The processes whose monotonic clocks stand still while they are frozen: these are frozen more often. */
  readonly standingStill: readonly number[];
  /**
   * Whether some are set by an hour. No two holders come of it; but what is granted to a clock that is an hour ahead, and
   * is not given back since its process was killed or cut off, keeps its lock closed for that hour.
   */
  readonly farOff: boolean;
}

/** @param processes how many there are. */
export function planOf(seed: number, seconds: number, processes: number, clocks: ClockPlan): Blow[] {
  const random = randomOf(seed, processes);
  const all = Array.from({ length: processes }, (_, index) => index + 1);
  const { shifted, standingStill } = clocks;
  const aims: Partial<Record<Blow['do'], readonly number[]>> = {
    shift: shifted,
    freeze: [...all, ...shifted, ...standingStill, ...standingStill],
    cut: [...all, ...shifted, ...shifted],
  };
  const blows = (Object.keys(PER_MINUTE) as Blow['do'][]).flatMap((kind) => {
    const count = Math.ceil((PER_MINUTE[kind] * seconds) / 60);
    return Array.from({ length: count }, (): Blow[] => {
      const aim = { at: between(random, 0, seconds * 1_000), process: oneOf(random, aims[kind] ?? all) };
      const blow: Blow = { ...aim, ...blowOf(kind, random, clocks) };
      const isWorst = (kind === 'freeze' || kind === 'cut') && shifted.includes(aim.process);
      if (!isWorst) return [blow];
      // Set back, the wall clock says that no time has passed.
      const offsetMs = little(random) + oneOf(random, [0, -3_000, -3_000]);
      return [blow, { ...aim, at: aim.at + between(random, 0, 200), do: 'shift', offsetMs }];
    }).flat();
  });
  return blows.sort((a, b) => a.at - b.at);
}

type WithoutAim<T> = T extends Blow ? Omit<T, 'at' | 'process'> : never;

function blowOf(kind: Blow['do'], random: () => number, { farOff }: ClockPlan): WithoutAim<Blow> {
  switch (kind) {
    case 'kill':
      return { do: kind, forMs: between(random, 50, 500) };
    case 'freeze':
      // Within a lease, and beyond the longest.
      return { do: kind, forMs: oneOf(random, [between(random, 50, 400), between(random, 600, 4_000)]) };
    case 'cut':
    case 'outage':
      return { do: kind, forMs: between(random, 200, 4_000) };
    case 'freezeServer':
      return { do: kind, forMs: between(random, 100, 1_500) };
    case 'shift':
      return { do: kind, offsetMs: offsetOf(random, farOff) };
    case 'fault':
      return faultOf(random);
  }
}

/** Off by little, by 3 s, or by an hour. */
function offsetOf(random: () => number, farOff: boolean): number {
  return little(random) + oneOf(random, [0, 3_000, -3_000, ...(farOff ? [HOUR_MS, -HOUR_MS] : [])]);
}

const little = (random: () => number): number => between(random, -SMALL_OFFSET_MS, SMALL_OFFSET_MS);

function faultOf(random: () => number): WithoutAim<Blow> {
  const late = between(random, 50, 3_000);
  const faults: Fault[] = [
    { do: 'loseRequest' },
    { do: 'loseAnswer' },
    { do: 'duplicate' },
    { do: 'duplicateLater', ms: late },
    { do: 'delayRequest', ms: late },
    { do: 'delayAnswer', ms: oneOf(random, [late, between(random, 50, 500)]) },
    { do: 'hang' },
    { do: 'status', status: oneOf(random, [500, 503]) },
    { do: 'throttle' },
    { do: 'transactionConflict' },
  ];
  const on = oneOf<Target>(random, ['acquire', 'renew', 'release', 'giveBack', 'resume', 'work', 'work', 'any']);
  // What is written late, when the lease has ended, is what a guard is for.
  const isLate = on === 'work' && random() < 0.5;
  const fault: Fault = isLate ? { do: 'delayRequest', ms: between(random, 500, 3_000) } : oneOf(random, faults);
  return { do: 'fault', fault, on, times: between(random, 1, 4) };
}

/** The rule by which a proxy carries a fault out. */
export function ruleOf(fault: Fault, on: Target, times: number): Rule {
  const rule: Rule = { ...fault, times };
  // A transaction meets a conflict as a reason of its cancellation, and not as an error of its own.
  if (fault.do === 'transactionConflict') rule.operation = 'UpdateItem';
  if (on === 'work') rule.when = (body) => body?.TransactItems || (body?.UpdateExpression && !whatFor(body));
  else if (on !== 'any') rule.when = (body) => whatFor(body) === on;
  return rule;
}

/** What a request asks of a lock; undefined when it is about something else. */
const whatFor = (body: { ExpressionAttributeValues?: Record<string, unknown> } | undefined): Operation | undefined =>
  operationOf(body?.ExpressionAttributeValues ?? {});

/** An outage: for a time, every request fails at once. */
export const outage = (): Rule => ({ do: 'status', status: 500, times: Number.POSITIVE_INFINITY });

/** A cut network: for a time, no request arrives, and connections stay open without an answer. */
export const cut = (): Rule => ({ do: 'hang', times: Number.POSITIVE_INFINITY });
