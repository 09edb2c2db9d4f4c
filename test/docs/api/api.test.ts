import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { repository } from '../entries.ts';

jest.setTimeout(60_000);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'leasehold-api-'));
  execFileSync(process.execPath, [join(import.meta.dirname, 'write.ts'), folder]);
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('the public API', () => {
  test.each(['api.md', 'reference.md'])('is that of docs/%s (npm run api writes it anew)', (page) => {
    expect(readFileSync(join(repository, 'docs', page), 'utf8')).toBe(readFileSync(join(folder, page), 'utf8'));
  });
});
