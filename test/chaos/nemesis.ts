/** Plans the blows on the processes. The same seed gives the same plan. */
import type { Fault, Rule } from '../support/fault-proxy.ts';
import { type Operation, operationOf } from './history.ts';
import { between, oneOf, randomOf } from './random.ts';

/** A blow on one process. `at` is in milliseconds from the start, and `process` counts from 1. */
export type Blow = { readonly at: number; readonly process: number } & (
  | { readonly do: 'kill' | 'freeze' | 'cut' | 'outage' | 'freezeServer' | 'killServer'; readonly forMs: number }
  | { readonly do: 'shift'; readonly offsetMs: number }
  | FaultBlow
);

/** A fault of the next requests of a process. */
export interface FaultBlow {
  readonly do: 'fault';
  readonly fault: Fault;
  readonly on: Target;
  readonly times: number;
}

/** The requests that a fault meets. `work` stands for the writes under the locks. */
type Target = Operation | 'work' | 'any';

/**
 * The error of a right clock. Two such errors are less than the `safetyMs` of the shortest lease, 125. The protocol
 * promises nothing for two clocks that differ by more, until one clock is off by a second.
 */
export const SMALL_OFFSET_MS = 55;
export const HOUR_MS = 3_600_000;
/** The number of blows of each kind in a minute, on all processes together. */
const PER_MINUTE: Readonly<Record<Blow['do'], number>> = {
  fault: 300,
  freeze: 50,
  kill: 20,
  cut: 40,
  outage: 12,
  shift: 20,
  freezeServer: 4,
  killServer: 6,
};

export interface ClockPlan {
  /** The processes whose wall clocks are set while they run, and also while they are frozen or cut off. */
  readonly shifted: readonly number[];
  /** The processes whose monotonic clocks stand still while they are frozen. They are frozen more often. */
  readonly standingStill: readonly number[];
  /**
   * True: some clocks are set by an hour. This never makes two holders. But a grant to a clock that is an hour ahead
   * keeps its lock closed for the hour if the process is killed or cut off before it gives the grant back.
   */
  readonly farOff: boolean;
}

/**
 * @param processes the number of processes.
 * @param kinds the kinds of blows that the place of the locks takes.
 */
export function planOf(
  seed: number,
  seconds: number,
  processes: number,
  clocks: ClockPlan,
  kinds: readonly Blow['do'][],
): Blow[] {
  const random = randomOf(seed, processes);
  const all = Array.from({ length: processes }, (_, index) => index + 1);
  const { shifted, standingStill } = clocks;
  const aims: Partial<Record<Blow['do'], readonly number[]>> = {
    shift: shifted,
    freeze: [...all, ...shifted, ...standingStill, ...standingStill],
    cut: [...all, ...shifted, ...shifted],
  };
  const blows = (Object.keys(PER_MINUTE) as Blow['do'][])
    .filter((kind) => kinds.includes(kind))
    .flatMap((kind) => {
      const count = Math.ceil((PER_MINUTE[kind] * seconds) / 60);
      return Array.from({ length: count }, (): Blow[] => {
        const aim = { at: between(random, 0, seconds * 1_000), process: oneOf(random, aims[kind] ?? all) };
        const blow: Blow = { ...aim, ...blowOf(kind, random, clocks) };
        const isWorst = (kind === 'freeze' || kind === 'cut') && shifted.includes(aim.process);
        if (!isWorst) return [blow];
        // A wall clock that is set back shows that no time has passed.
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
      // A short freeze ends within a lease. A long freeze outlasts the longest lease.
      return { do: kind, forMs: oneOf(random, [between(random, 50, 400), between(random, 600, 4_000)]) };
    case 'cut':
    case 'outage':
      return { do: kind, forMs: between(random, 200, 4_000) };
    case 'freezeServer':
    case 'killServer':
      return { do: kind, forMs: between(random, 100, 1_500) };
    case 'shift':
      return { do: kind, offsetMs: offsetOf(random, farOff) };
    case 'fault':
      return faultOf(random);
  }
}

/** The offset of a clock: small, 3 s, or an hour. */
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
  // A guard must refuse a write that arrives after the end of the lease.
  const isLate = on === 'work' && random() < 0.5;
  const fault: Fault = isLate ? { do: 'delayRequest', ms: between(random, 500, 3_000) } : oneOf(random, faults);
  return { do: 'fault', fault, on, times: between(random, 1, 4) };
}

/** The rule by which a proxy applies a fault. */
export function ruleOf(fault: Fault, on: Target, times: number): Rule {
  const rule: Rule = { ...fault, times };
  // A transaction gets a conflict as a cancellation reason, and not as a TransactionConflictException.
  if (fault.do === 'transactionConflict') rule.operation = 'UpdateItem';
  if (on === 'work') rule.when = (body) => body?.TransactItems || (body?.UpdateExpression && !whatFor(body));
  else if (on !== 'any') rule.when = (body) => whatFor(body) === on;
  return rule;
}

/** The operation of a lock that a request asks for. Undefined for other requests. */
const whatFor = (body: { ExpressionAttributeValues?: Record<string, unknown> } | undefined): Operation | undefined =>
  operationOf(body?.ExpressionAttributeValues ?? {});

/** The rule of an outage: every request fails at once. */
export const outage = (): Rule => ({ do: 'status', status: 500, times: Number.POSITIVE_INFINITY });

/** The rule of a cut network: no request arrives, and connections stay open without an answer. */
export const cut = (): Rule => ({ do: 'hang', times: Number.POSITIVE_INFINITY });
