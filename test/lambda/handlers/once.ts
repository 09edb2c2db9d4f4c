import { withLock } from '../../../middleware/index.ts';
import { log, pass } from './support.ts';

interface Night {
  readonly time: string;
  readonly gate?: string;
}

/** What a night's work is for, with a fault that its second try does not meet. */
export const handler = withLock(
  {
    key: 'report',
    once: ({ time }: Night) => time,
    onDone: ({ doneToken }) => ({ outcome: 'already done', doneToken }),
    onEvent: log,
  },
  async ({ gate }: Night) => {
    await pass(gate);
    if (process.env.FAULT) throw new RangeError('The disk is full.');
    return { outcome: 'done' };
  },
);
