// The bounds of `npm run bench`, whole and smoke. Those of times and CPU are generous, since machines are noisy: a figure out
// of bounds is a fault, and no noise.
import type { Bound } from './lib/bounds.ts';

const ours = /^leasehold/;
/** leasehold as on Lambda. */
const lean = /^leasehold$/;

export const BOUNDS: readonly Bound[] = [
  { measure: 'cycle', rows: ours, column: 'requests', is: '2 + 0' },
  { measure: 'cycle', rows: ours, column: 'CPU / raw', most: 2.2 },
  { measure: 'cycle', rows: ours, column: 'p50 / raw', most: 2.2 },
  { measure: 'busy', rows: lean, column: 'requests', is: '1 + 0' },
  { measure: 'busy', rows: lean, column: 'CPU / raw', most: 2.2 },
  { measure: 'throughput', rows: lean, column: '32 / raw', least: 0.3 },
  { measure: 'heap', rows: ours, column: 'bytes / raw', most: 1.4 },
  { measure: 'cold-start', rows: ours, column: 'both / raw', most: 2 },
  { measure: 'bundle', rows: ours, column: 'without the SDK', most: 85_000 },
  { measure: 'hand-over', rows: /: leasehold$/, column: 'first, ms', most: 1_500 },
  { measure: 'dead-holder', rows: lean, column: 'taken after, ms', least: 1_990, most: 3_500 },
  { measure: 'hung-server', rows: lean, column: 'holder told at, ms', most: 2_000 },
  { measure: 'hung-server', rows: lean, column: 'both hold, ms', most: 0 },
  { measure: 'held', rows: /./, column: 'lost', most: 0 },
  { measure: 'held', rows: /./, column: 'writes each', most: 2.2 },
  { measure: 'tasks', rows: /./, column: 'writes of a task', most: 2.2 },
  { measure: 'tasks', rows: /./, column: 'CPU of a task, to the first', most: 4 },
  { measure: 'inspect-many', rows: /./, column: 'CPU of a key, to the first', most: 4 },
];
