import { globSync, readFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { inOwnWords, PHRASES } from '../../bin/own-words.ts';

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

// A phrase at the beginning of a message may be put together from an option's name.
const inside = PHRASES.map(([phrase]) => phrase).filter(({ source }) => !source.startsWith('^'));
test.each(inside)('%s is still a phrase of the library', (phrase) => {
  const sources = globSync('lib/**/*.ts').map((path) => readFileSync(path, 'utf8'));
  expect(inside.length).toBeGreaterThan(8);
  // send() puts the names of the caller's times into its advice.
  const literal = new RegExp(phrase.source.replace(/^.*allow more time \\\(|^\\\((?=waitMs)|(?<=Ms)\\\)$/g, ''));
  expect(sources.filter((text) => literal.test(text))).not.toEqual([]);
});
