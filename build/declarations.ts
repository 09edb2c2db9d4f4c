import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { rolldown } from 'rolldown';
import { dts } from 'rolldown-plugin-dts';
import { CJS, ESM, libraryEntries, repository } from './entries.ts';

/**
 * Writes the declarations, once for both formats, so that a type is one type in all entries.
 *
 * 1. The compiler writes a declaration file for each source file, into a temporary folder.
 * 2. Those parts of them that the entries reach are gathered: one file for each entry, and chunks that several share. They
 *    stand among the CommonJS files, since CommonJS cannot name the types of an ES module in all compilers.
 * 3. Beside each ES module stands a file that exports the same.
 */
export async function writeDeclarations(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'leasehold-declarations-'));
  try {
    const tsc = join(repository, 'node_modules/typescript/bin/tsc');
    const options = ['--project', 'tsconfig.build.json', '--outDir', folder];
    execFileSync(process.execPath, [tsc, ...options], { cwd: repository, stdio: 'inherit' });
    await gather(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
  for (const entry of libraryEntries) writeReexport(entry.replace(/\.ts$/, ''));
}

async function gather(folder: string): Promise<void> {
  const names = libraryEntries.map((entry) => entry.replace(/\.ts$/, ''));
  const bundle = await rolldown({
    cwd: repository,
    input: Object.fromEntries(names.map((name) => [name, join(folder, `${name}.d.ts`)])),
    external: /^[^./]/,
    // The generator has no work: the compiler has written all declarations.
    plugins: [dts({ dtsOnly: true, tsconfig: false, generator: 'oxc' })],
  });
  await bundle.write({
    dir: join(repository, CJS),
    // The plugin has put `.d` at the end of the entry's name.
    entryFileNames: '[name].ts',
    chunkFileNames: 'chunk-[hash].d.ts',
  });
  await bundle.close();
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
