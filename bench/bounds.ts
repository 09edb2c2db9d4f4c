// The bounds of `npm run bench`, whole or smoke. They are generous, since machines are noisy: a figure out of bounds is a
// fault, and no noise.
import type { Bound } from './lib/bounds.ts';
import { OURS } from './lib/contenders.ts';

export const BOUNDS: readonly Bound[] = [
  { measure: 'cycle', row: OURS, column: 'CPU / raw', most: 1.7 },
  { measure: 'cycle', row: OURS, column: 'p50 / raw', most: 1.7 },
];
