import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { CJS, ESM, libraryEntries, repository } from './entries.ts';

/**
 * Writes the declarations, once for both formats, so that a type is one type in all entries.
 *
 * 1. The compiler writes a declaration file for each source file, into a temporary folder.
 * 2. Those files that the entries reach are copied. They stand among the CommonJS files, since CommonJS cannot name the types
 *    of an ES module in all compilers.
 * 3. Beside each ES module stands a file that exports the same.
 */
export function writeDeclarations(): void {
  const folder = mkdtempSync(join(tmpdir(), 'leasehold-declarations-'));
  try {
    const tsc = join(repository, 'node_modules/typescript/bin/tsc');
    const options = ['--project', 'tsconfig.build.json', '--outDir', folder];
    execFileSync(process.execPath, [tsc, ...options], { cwd: repository, stdio: 'inherit' });
    gather(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
  for (const entry of libraryEntries) writeReexport(entry.replace(/\.ts$/, ''));
}

/** An import of another file in a declaration file, without the extension. */
const IMPORT = /((?:from |import |import\()(['"])\.[^'"]+)\.(?:ts|js)(\2)/g;

/** Copies the declarations of the entries, and those that they import. */
function gather(folder: string): void {
  const seen = new Set<string>();
  const visit = (file: string) => {
    if (seen.has(file)) return;
    seen.add(file);
    // The compiler leaves the sources' names in the imports of declarations.
    const text = readFileSync(join(folder, file), 'utf8').replace(IMPORT, '$1.js$3');
    mkdirSync(dirname(join(repository, CJS, file)), { recursive: true });
    writeFileSync(join(repository, CJS, file), text);
    for (const [, start = ''] of text.matchAll(IMPORT)) {
      visit(join(dirname(file), `${start.replace(/^.*['"]/, '')}.d.ts`));
    }
  };
  for (const entry of libraryEntries) visit(entry.replace(/\.ts$/, '.d.ts'));
}

function writeReexport(name: string): void {
  const file = join(repository, ESM, `${name}.d.ts`);
  const original = relative(dirname(file), join(repository, CJS, `${name}.js`));
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `export * from '${original}';\n`);
}

/**
 * Writes the declarations for compilers before TypeScript 5.0, which package.json sends there. Such a compiler says
 * "… needs-typescript-5.0.d.ts is not a module". It would skip what it cannot read in ours, and types would be `any`.
 */
export function refuseOldCompilers(): void {
  const text = "leasehold's types need TypeScript 5.0 or later: npm install --save-dev typescript@latest";
  writeFileSync(join(repository, 'dist/needs-typescript-5.0.d.ts'), `// ${text}\n`);
}
