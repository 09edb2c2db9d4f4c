import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { mutants } from './mutation/mutants.ts';

test('each line that a mutant breaks stands once in its file', () => {
  const count = ({ file, code }: (typeof mutants)[number]) =>
    readFileSync(join(import.meta.dirname, '..', file), 'utf8').split(code).length - 1;
  expect(mutants.length).toBeGreaterThan(400);
  expect(mutants.filter((mutant) => count(mutant) !== 1)).toEqual([]);
});
