import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { PAGES, page } from '../../bench/lib/results.ts';

describe('the figures', () => {
  test.each(PAGES.map((path) => [basename(path), path]))('in %s are those that npm run bench keeps', (_name, path) => {
    const text = readFileSync(path, 'utf8');
    expect(text).toContain('<!-- bench: ');
    expect(text).toBe(page(text));
  });
});
