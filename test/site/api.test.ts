import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { withoutExample } from '../docs/api/examples.ts';
import { keepers } from '../docs/api/invariants.ts';
import { repository } from '../docs/entries.ts';

jest.setTimeout(60_000);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'leasehold-api-'));
  execFileSync(process.execPath, [join(import.meta.dirname, '../docs/api/write.ts'), folder]);
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('npm run api', () => {
  test.each(['api.md', 'reference.md', 'architecture.md', 'reliability.md'])('leaves docs/%s unchanged', (page) => {
    expect(readFileSync(join(repository, 'docs', page), 'utf8')).toBe(readFileSync(join(folder, page), 'utf8'));
  });

  test('would find an example of each function, class and option type, and of each method of a client and a lease', () => {
    expect(withoutExample(JSON.parse(readFileSync(join(folder, 'declarations.json'), 'utf8')))).toEqual([]);
  });

  // Invariants 1 and 2 are the sum of the conditions of all writes.
  test.each([3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13])('would find a file that keeps invariant %i', (number) => {
    expect(keepers().get(number)?.length).toBeGreaterThan(0);
  });
});
