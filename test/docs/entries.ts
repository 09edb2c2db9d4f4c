import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sourceOf } from '../../build/entries.ts';

export const repository = join(import.meta.dirname, '../..');

/**
 * The package's entries and their source files, such as `leasehold/middy` and `middleware/index.ts`, from
 * package.json.
 */
export function entries(): Map<string, string> {
  const { name, exports } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'));
  const sources = Object.entries<{ import?: { default: string } }>(exports).flatMap(([entry, target]) => {
    return target.import === undefined ? [] : [[join(name, entry), sourceOf(target.import.default)] as const];
  });
  return new Map(sources);
}
