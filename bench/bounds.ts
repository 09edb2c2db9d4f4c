// The bounds of `npm run bench`, whole and smoke. The bounds of times and CPU are generous, since machines are noisy: a
// figure out of bounds is a fault, and no noise.
import type { Bound } from './lib/bounds.ts';

/** leasehold as on Lambda, over its own transport. */
const lean = /^leasehold(, withLock|, Middy)?$/;
/** leasehold over the user's client. */
const given = /^leasehold, client given$/;

export const BOUNDS: readonly Bound[] = [
  { measure: 'cycle', rows: /^leasehold/, column: 'requests', is: '2 + 0' },
  { measure: 'cycle', rows: lean, column: 'CPU / raw', most: 1.1 },
  { measure: 'cycle', rows: lean, column: 'p50 / raw', most: 1.1 },
  { measure: 'cycle', rows: given, column: 'CPU / raw', most: 2.2 },
  { measure: 'busy', rows: lean, column: 'requests', is: '1 + 0' },
  { measure: 'busy', rows: lean, column: 'CPU / raw', most: 1 },
  { measure: 'throughput', rows: lean, column: '32 / raw', least: 1 },
  { measure: 'heap', rows: lean, column: 'bytes / raw', most: 0.5 },
  { measure: 'heap', rows: given, column: 'bytes / raw', most: 1.4 },
  { measure: 'cold-start', rows: /: leasehold/, column: 'both / raw', most: 1.4 },
  { measure: 'bundle', rows: lean, column: 'without the SDK', most: 108_100 },
  { measure: 'hand-over', rows: /: leasehold$/, column: 'first, ms', most: 1_500 },
  { measure: 'fairness', rows: /^50 in one process/, column: 'writes each', most: 2.05 },
  { measure: 'fairness', rows: /^50 in one process/, column: 'reads each', most: 0.05 },
  { measure: 'fairness', rows: /^50 in one process/, column: 'out of order', most: 0 },
  // In real time there are few turns, and chance decides over a part of the shares.
  { measure: 'fairness', rows: /^3 processes/, column: 'least share, %', least: 2 },
  { measure: 'fairness', rows: /fake time/, column: 'least share, %', least: 15 },
  { measure: 'fairness', rows: /one process$/, column: 'timed out', most: 0 },
  { measure: 'dead-holder', rows: lean, column: 'taken after, ms', least: 1_990, most: 3_500 },
  { measure: 'hung-server', rows: lean, column: 'holder told at, ms', most: 2_000 },
  { measure: 'hung-server', rows: lean, column: 'both hold, ms', most: 0 },
  { measure: 'held', rows: /./, column: 'lost', most: 0 },
  { measure: 'held', rows: /./, column: 'writes each', most: 2.2 },
  { measure: 'coalesce', rows: /./, column: 'uncovered', most: 0 },
  { measure: 'coalesce', rows: /./, column: 'two at once', most: 0 },
  { measure: 'coalesce', rows: /^one/, column: 'requests a call', most: 2 },
  { measure: 'coalesce', rows: /^100/, column: 'requests a call', most: 1.4 },
  { measure: 'coalesce', rows: /^100/, column: 'runs after the last call', least: 1 },
  { measure: 'lead', rows: /^SIGTERM/, column: 'over 1 s', most: 0 },
  { measure: 'lead', rows: /./, column: 'two at once', most: 0 },
  { measure: 'several', rows: /alone$/, column: 'requests', is: '4 + 0' },
  { measure: 'several', rows: /^acquireAll: in/, column: 'writes each', most: 6 },
  { measure: 'several', rows: /^acquireAll: in/, column: 'gave up', most: 3 },
  { measure: 'tasks', rows: /./, column: 'writes of a task', most: 2.2 },
  { measure: 'tasks', rows: /./, column: 'CPU of a task, to the first', most: 4 },
  { measure: 'inspect-many', rows: /./, column: 'CPU of a key, to the first', most: 4 },
  { measure: 'permits', rows: /permits for all/, column: 'write units', most: 2.05 },
  { measure: 'permits', rows: /twice as many/, column: 'write units', most: 3.2 },
  { measure: 'permits', rows: /^3 permits/, column: 'held at once, at the most', most: 3 },
  { measure: 'permits', rows: /^10 permits/, column: 'held at once, at the most', most: 10 },
  { measure: 'permits', rows: /^50 permits/, column: 'held at once, at the most', most: 50 },
  { measure: 'permits', rows: /./, column: 'two in one slot', most: 0 },
  { measure: 'redis', rows: /^leasehold/, column: 'p50 / raw', most: 6 },
  { measure: 'redis', rows: /^leasehold.*subscriber/, column: 'hand-over, ms', most: 50 },
];
