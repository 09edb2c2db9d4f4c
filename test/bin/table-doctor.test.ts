import { expect, test } from '@jest/globals';
import { clockOf } from '../../bin/table-doctor.ts';

test.each([
  [7_200_000, "This host's clock is about 2 h ahead of DynamoDB's: set the clock by NTP."],
  [-7_200_000, "This host's clock is about 2 h behind DynamoDB's: set the clock by NTP."],
  [-1_999, "This host's clock is within 2 s of DynamoDB's."],
])('a clock that is off by %i ms is told', (offMs, message) => {
  expect(clockOf(offMs).message).toBe(message);
});
