import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { type PackedPackage, packAndInstall, repository, run } from './consumer.ts';

jest.setTimeout(60_000);

/** The most bytes of all files together, without source maps. docs/decisions/017 has what they are spent on. */
const MOST_BYTES = 1_315_000;

let leasehold: PackedPackage;
let folder: string;
beforeAll(async () => {
  leasehold = await packAndInstall();
  folder = join(leasehold.folder, 'node_modules/leasehold');
});
afterAll(() => leasehold?.[Symbol.asyncDispose]());

const read = (path: string) => readFileSync(join(folder, path), 'utf8');

/** Every path that package.json names. */
function named(value: unknown): string[] {
  if (typeof value === 'string') return value.startsWith('./') ? [value] : [];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(named) : [];
}

describe('the tarball', () => {
  test('holds the entries, what they share, their types and maps, and the papers, and nothing else', () => {
    const code = /^dist\/(esm|cjs)\/((lib|middleware|bin)\/.+|[\w-]+)(\.js|\.js\.map|\.d\.ts)$/;
    const papers = ['LICENSE', 'README.md', 'dist/cjs/package.json', 'dist/needs-typescript-5.0.d.ts', 'package.json'];
    const ofCommand = /^dist\/(third-party-licences\.txt|esm\/(bin\/)?page\.html)$/;
    const others = leasehold.files.filter((path) => !code.test(path) && !ofCommand.test(path));
    expect(others.sort()).toEqual(papers);
  });

  test('has the terms of each package whose code is in the command, and its copyright', () => {
    const [, ...notices] = read('dist/third-party-licences.txt').split(/\n\n(?=\S+ \d+\.\d+\.\d+\n)/);
    expect(notices.map((text) => text.split(' ')[0])).toEqual([
      '@bomb.sh/tab',
      'commander',
      'fast-string-truncated-width',
    ]);
    for (const text of notices)
      expect(text).toMatch(/Copyright \(c\) (?!.*leasehold).+\n\nPermission is hereby granted/is);
  });

  test(`has less than ${MOST_BYTES} bytes without maps`, () => {
    const counted = leasehold.files.filter((path) => !path.endsWith('.map'));
    const sizes = counted.map((path) => statSync(join(folder, path)).size);
    expect(sizes.reduce((sum, size) => sum + size)).toBeLessThan(MOST_BYTES);
  });

  test('brings no other package with it', () => {
    const lock = JSON.parse(readFileSync(join(leasehold.folder, 'package-lock.json'), 'utf8'));
    expect(Object.keys(lock.packages)).toEqual(['', 'node_modules/leasehold']);
  });

  test('has every file that its package.json names', () => {
    const paths = named(JSON.parse(read('package.json')));
    expect(paths.length).toBeGreaterThan(40);
    expect(paths.filter((path) => !existsSync(join(folder, path)))).toEqual([]);
  });

  test('tells the types of every entry to a compiler that cannot read exports', () => {
    const { exports, typesVersions } = JSON.parse(read('package.json'));
    for (const [entry, conditions] of Object.entries<{ require: { types: string } }>(exports)) {
      if (entry === '.' || entry === './package.json') continue;
      expect(typesVersions['*'][entry.slice('./'.length)]).toEqual([conditions.require.types]);
    }
  });

  test('imports no file that it does not have', () => {
    const code = leasehold.files.filter((path) => /\.(js|d\.ts)$/.test(path));
    const missing = code.flatMap((path) => {
      const relative = [...read(path).matchAll(/(?:from|import|require\(|import\()\s*["'](\.{1,2}\/[^"']*)["']/g)];
      const targets = relative.map(([, specifier = '']) => normalize(join(dirname(path), specifier)));
      return targets.filter((target) => !leasehold.files.includes(path.endsWith('.js') ? target : typesOf(target)));
    });
    expect(missing).toEqual([]);
  });

  test('has short lines of code, since Node prints the line of an error that nobody catches', () => {
    const code = leasehold.files.filter((path) => path.endsWith('.js'));
    const longest = code.map((path) =>
      Math.max(
        ...read(path)
          .split('\n')
          .map(({ length }) => length),
      ),
    );
    expect(Math.max(...longest)).toBeLessThan(500);
  });

  test('names no path outside of itself', () => {
    const wrong = leasehold.files.filter((path) => read(path).includes(repository));
    expect(wrong).toEqual([]);
  });

  test('has a source map for each file of code, with the sources as they are', () => {
    const code = leasehold.files.filter((path) => path.endsWith('.js'));
    for (const path of code) {
      expect(read(path)).toMatch(/\n\/\/# sourceMappingURL=\S+\.js\.map\n$/);
      const { sources, sourcesContent } = JSON.parse(read(`${path}.map`)) as Record<string, string[]>;
      expect(sources!.length).toBe(sourcesContent!.length);
      for (const [index, source] of sources!.entries()) {
        const original = join(repository, dirname(path), source);
        expect({ source, text: sourcesContent![index] }).toEqual({ source, text: readFileSync(original, 'utf8') });
      }
    }
  });
});

const typesOf = (path: string) => path.replace(/\.js$/, '.d.ts');

describe.each([
  { format: 'ES modules', imports: (entry: string) => `await import('${entry}')`, type: 'module' },
  { format: 'CommonJS', imports: (entry: string) => `require('${entry}')`, type: 'commonjs' },
])('$format', ({ imports, type }) => {
  const evaluate = (code: string) =>
    run(
      process.execPath,
      ['--enable-source-maps', `--input-type=${type}`, '-e', `(async () => {${code}})()`],
      leasehold.folder,
    );

  test('have one class of errors in all entries', async () => {
    const code = `
      const { LockBusyError, LockClient } = ${imports('leasehold')};
      const { MemoryLockStore } = ${imports('leasehold/testing')};
      const { withLock } = ${imports('leasehold/middy')};
      const locks = new LockClient({ store: new MemoryLockStore() });
      await locks.acquire('nightly');
      const handler = withLock({ key: 'nightly', locks }, async () => {});
      const context = { getRemainingTimeInMillis: () => 10_000 };
      const error = await handler({}, context).catch((error) => error);
      console.log(error instanceof LockBusyError, error.name);
      process.exit();`;
    expect(await evaluate(code)).toBe('true LockBusyError\n');
  });

  test('share the store of a test with the files of the other format', async () => {
    const code = `
      const { installMemoryStore } = ${imports('leasehold/testing')};
      const { createRequire } = await import('node:module');
      const requireHere = createRequire(process.cwd() + '/x');
      const store = installMemoryStore();
      for (const load of [requireHere, (entry) => import(entry)]) {
        if ((await load('leasehold/testing')).installMemoryStore() !== store) console.log('another store');
        const { LockClient } = await load('leasehold');
        const other = await new LockClient({ store, owner: 'other' }).acquire('nightly');
        const { withLock } = ${imports('leasehold/middy')};
        console.log(await withLock({ key: 'nightly', onBusy: () => 'busy' }, async () => 'done')({}, {}));
        await other.release();
      }`;
    expect(await evaluate(code)).toBe('busy\nbusy\n');
  });

  test('show the lines of the sources in a stack', async () => {
    const code = `
      const { LockClient } = ${imports('leasehold')};
      try { new LockClient({ wrong: 1 }) } catch ({ stack }) { console.log(stack) }`;
    const [, file = '', line = ''] = /leasehold\/(lib\/\S+\.ts):(\d+):\d+/.exec(await evaluate(code)) ?? [];
    const source = readFileSync(join(repository, file), 'utf8').split('\n');
    expect(source[Number(line) - 1]).toMatch(/throw /);
  });
});
