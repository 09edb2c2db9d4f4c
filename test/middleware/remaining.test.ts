import { expect, test } from '@jest/globals';
import { Remaining } from '../../middleware/remaining.ts';
import { gate } from './setup.ts';

const tick = () => new Promise((resolve) => setTimeout(resolve, 20));

// A timer of Node's that is longer than 2,147,483,647 ms fires at once.
test.each([
  { time: 'unknown', context: undefined },
  { time: 'longer than a timer can be', context: { getRemainingTimeInMillis: () => 2 ** 40 } },
])('where the remaining time is $time, work is waited for until it settles', async ({ context }) => {
  const work = gate();
  let answer: boolean | undefined;
  const waiting = new Remaining(context).settles(work.opened).then((settled) => {
    answer = settled;
  });
  await tick();
  expect(answer).toBeUndefined();
  work.open();
  await waiting;
  expect(answer).toBe(true);
});

test('work that does not settle is given up when the invocation has half of a short time left', async () => {
  const remaining = new Remaining({ getRemainingTimeInMillis: () => 40 });
  expect(await remaining.settles(new Promise(() => {}))).toBe(false);
});
