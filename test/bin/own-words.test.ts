import { expect, test } from '@jest/globals';
import { inOwnWords } from '../../bin/own-words.ts';

test.each([
  [
    "Reading 'job': no answer came within 1000 ms. Check the network, or allow more time (requestTimeoutMs, leaseMs, holdAtMostMs).",
    "Reading 'job': no answer came within 1000 ms. Check the network.",
  ],
  [
    'no answer came. Check the network, or allow more time (waitMs, withinMs).',
    'no answer came. Check the network, or allow more time (--wait).',
  ],
  ['Set a longer leaseMs or holdAtMostMs, or check the network.', 'Set a longer --lease, or check the network.'],
  [
    "sortKey.name must differ from keyAttribute, but both are 'PK'.",
    "--sort-key must differ from --key-attribute, but both are 'PK'.",
  ],
  ['leasehold reset-once KEY, or resetOnce(). leasehold', 'leasehold reset-once KEY. leasehold'],
  ['fencingToken must be a whole number', '--token must be a whole number'],
  ["bucket must be a bucket's name", "The bucket of --store must be a bucket's name"],
  [
    "there is no bucket 'jobs': create it, or mend LOCK_BUCKET_NAME or bucket.",
    "there is no bucket 'jobs': create it, or mend --store or LOCK_BUCKET_NAME.",
  ],
])('%s', (theirs, ours) => {
  expect(inOwnWords(theirs)).toBe(ours);
});

test.each(["Reading 'leaseMs': no such lock", 'its fencingToken is missing'])(
  'a key and an attribute keep their names: %s',
  (message) => {
    expect(inOwnWords(message)).toBe(message);
  },
);
