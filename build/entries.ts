import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const repository = join(import.meta.dirname, '..');
export const ESM = 'dist/esm';
export const CJS = 'dist/cjs';

interface PackageJson {
  readonly exports: Readonly<Record<string, string | { readonly import: { readonly default: string } }>>;
  readonly bin: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}

export const packageJson: PackageJson = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'));

/** `lib/file.ts` for `./dist/esm/lib/file.js`: dist has the folders of the sources. */
export const sourceOf = (path: string) => path.replace(`./${ESM}/`, '').replace(/\.js$/, '.ts');

/** The source files of the entries that users import. */
export const libraryEntries = Object.values(packageJson.exports).flatMap((target) =>
  typeof target === 'string' ? [] : [sourceOf(target.import.default)],
);

/** The source files of the commands. */
export const commands = Object.values(packageJson.bin).map(sourceOf);
