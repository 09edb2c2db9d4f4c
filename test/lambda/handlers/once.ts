import { withLock } from '../../../middleware/index.ts';
import { log, pass } from './support.ts';

interface Night {
  readonly time: string;
  readonly gate?: string;
}

/** The work of a night, with a fault that the second try does not meet. */
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
