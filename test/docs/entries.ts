import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const repository = join(import.meta.dirname, '../..');

/**
 * The package's entries and their source files, such as `leasehold/middy` and `middleware/index.ts`, from
 * package.json.
 */
export function entries(): Map<string, string> {
  const { name, exports } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'));
  const sources = Object.entries<{ import?: { default: string } }>(exports).flatMap(([entry, target]) => {
    const source = target.import?.default.replace('./dist/esm/', '').replace(/\.js$/, '.ts');
    return source === undefined ? [] : [[join(name, entry), source] as const];
  });
  return new Map(sources);
}
