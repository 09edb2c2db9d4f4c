import { withLock } from '../../../middleware/index.ts';
import { log, pass } from './support.ts';

interface Night {
  readonly time: string;
  readonly gate?: string;
}

/** A night's work, with a fault that its second try does not meet. */
export const handler = withLock(
  {
    key: 'report',
    once: ({ time }: Night) => time,
    onEvent: log,
  },
  async ({ gate }: Night) => {
    await pass(gate);
    if (process.env.FAULT) throw new RangeError('The disk is full.');
    return { outcome: 'done' };
  },
);
