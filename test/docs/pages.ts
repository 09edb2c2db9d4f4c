import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from './entries.ts';

/** Every page that people write, by its path in the repository; docs/api.md is a tool's. */
export const pages = ['README.md', 'CONTRIBUTING.md', ...globSync('docs/**/*.md', { cwd: repository })].filter(
  (page) => page !== 'docs/api.md',
);

export const read = (path: string): string => readFileSync(join(repository, path), 'utf8');
