import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from './entries.ts';

/** The pages that people write, by their paths in the repository. A tool writes docs/api.md. */
export const pages = ['README.md', 'CONTRIBUTING.md', ...globSync('docs/**/*.md', { cwd: repository })].filter(
  (page) => page !== 'docs/api.md',
);

export const read = (path: string): string => readFileSync(join(repository, path), 'utf8');
