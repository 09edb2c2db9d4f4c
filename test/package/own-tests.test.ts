// The tests of docs/testing.md, run by each test runner of the page over the tarball, as a user's project has them.
import { readFileSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { makeProject, type PackedPackage, packAndInstall, repository, run } from './consumer.ts';

jest.setTimeout(120_000);

const page = readFileSync(join(repository, 'docs/testing.md'), 'utf8');
const files = new Map(
  [...page.matchAll(/<!-- file: (\S+) -->\n\n```js\n(.*?)```/gs)].map(([, name = '', code = '']) => [name, code]),
);
const tests = [...files.keys()].filter((name) => name.endsWith('.vitest.mjs'));
const packages = ['vitest', '@middy', '@jest', '@swc'];

let leasehold: PackedPackage;
let folder: string;
beforeAll(async () => {
  leasehold = await packAndInstall();
  for (const name of tests) files.set(name.replace('.vitest.', '.jest.'), forJest(name));
  folder = await makeUserProject(
    'module',
    [...files].filter(([name]) => !name.includes('/')),
  );
});
afterAll(() => leasehold?.[Symbol.asyncDispose]());

/** Makes a project of these files, in which leasehold and the packages that the page names are installed. */
async function makeUserProject(type: string, contents: Iterable<[name: string, code: string]>): Promise<string> {
  const own = await mkdtemp(join(leasehold.folder, 'files-'));
  await writeFile(join(own, 'package.json'), JSON.stringify({ type }));
  for (const [name, code] of contents) await writeFile(join(own, name), code);
  return makeProject(leasehold, own, packages);
}

/** A test of the page, with the lines that the page wants changed for Jest. */
const forJest = (name: string) =>
  (files.get(name) ?? '')
    .replace(", vi } from 'vitest'", ", jest } from 'vitest'")
    .replace("from 'vitest'", "from '@jest/globals'")
    .replaceAll('vi.', 'jest.');

const node = (at: string, ...args: string[]) => run(process.execPath, args, at);
const jestProgram = join(repository, 'node_modules/jest/bin/jest.js');

test('the page names the files of each test runner', () => {
  expect([...files.keys()]).toEqual(
    expect.arrayContaining(['nightly.mjs', 'setup.mjs', 'vitest.config.mjs', 'jest.config.mjs', 'report.test.cjs']),
  );
  expect(tests).toEqual(['nightly.vitest.mjs', 'export.vitest.mjs']);
});

test('the page has no `await using` in JavaScript, which Node 22 cannot read', () => {
  for (const code of files.values()) expect(code).not.toMatch(/\bawait using\b/);
});

test('Vitest runs the tests of the page', async () => {
  const vitest = join(repository, 'node_modules/vitest/vitest.mjs');
  await node(folder, vitest, 'run', '--reporter', 'json', '--outputFile', 'told.json');
  expect(JSON.parse(readFileSync(join(folder, 'told.json'), 'utf8'))).toMatchObject({
    numPassedTests: 4,
    numFailedTests: 0,
  });
});

test.each([
  ['ES modules', ['--experimental-vm-modules'], ['--config', 'jest.config.mjs'], 4],
  ['CommonJS', [], ['--config', '{"testMatch":["**/report.test.cjs"],"transform":{}}'], 1],
])('Jest runs the tests of the page with %s', async (_, options, config, passed) => {
  const told = await node(folder, ...options, jestProgram, '--rootDir', folder, '--json', ...config);
  expect(JSON.parse(told)).toMatchObject({ numPassedTests: passed, numFailedTests: 0 });
});

/** The page's files in TypeScript: its configuration, and its handlers and tests with a few types in them. */
function inTypeScript(config: string, suffix: string, imported: string): [string, string][] {
  const typed = (code: string) =>
    code
      .replace('(event)', '(event: { time: string })')
      .replace('(_event,', '(_event: unknown,')
      .replace('const store =', 'const store: ReturnType<typeof installMemoryStore> =')
      .replaceAll(/(\.\/\w+)\.mjs/g, `$1${imported}`);
  const configured = [...files].flatMap(([name, code]): [string, string][] =>
    name.startsWith(`${config}/`) ? [[name.slice(config.length + 1), code]] : [],
  );
  const handlersAndTests = tests.flatMap((name): [string, string][] => {
    const handler = name.replace('.vitest.mjs', '');
    return [
      [`${handler}${suffix}`, typed(files.get(`${handler}.mjs`) ?? '')],
      [`${handler}.test.ts`, typed(forJest(name))],
    ];
  });
  return [['setup.ts', files.get('setup.mjs') ?? ''], ...configured, ...handlersAndTests];
}

test.each([
  { config: 'typescript', type: 'module', options: ['--experimental-vm-modules'], suffix: '.ts', imported: '.js' },
  { config: 'commonjs', type: 'commonjs', options: [], suffix: '.ts', imported: '' },
  { config: 'commonjs', type: 'commonjs', options: [], suffix: '.mts', imported: '.mts' },
])("Jest runs the tests of the page for a handler in $suffix with the page's $config/jest.config.js", async (of) => {
  const project = await makeUserProject(of.type, inTypeScript(of.config, of.suffix, of.imported));
  const told = await node(project, ...of.options, jestProgram, '--rootDir', project, '--json');
  expect(JSON.parse(told)).toMatchObject({ numPassedTests: 4, numFailedTests: 0 });
});

test('docs/middy.md says of which Middy `require` finds a file', async () => {
  const required = (name: string) => node(repository, '-p', `typeof require('${name}').default`);
  await expect(required('@middy/core')).rejects.toThrow('ERR_PACKAGE_PATH_NOT_EXPORTED');
  expect(await required('middy6')).toBe('function\n');
});
