// The tests of docs/testing.md, run by each test runner of the page over the tarball, as a user's project has them.
import { readFileSync } from 'node:fs';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { makeConsumer, type PackedPackage, packAndInstall, repository, run } from './consumer.ts';

jest.setTimeout(120_000);

const page = readFileSync(join(repository, 'docs/testing.md'), 'utf8');
const files = new Map(
  [...page.matchAll(/<!-- file: (\S+) -->\n\n```js\n(.*?)```/gs)].map(([, name = '', code = '']) => [name, code]),
);

let leasehold: PackedPackage;
let folder: string;
beforeAll(async () => {
  leasehold = await packAndInstall();
  folder = await makeConsumer(leasehold, { packageJson: {}, tsconfig: {}, peers: [] });
  // A link would be followed to the repository, where the tests would find leasehold's sources.
  await mkdir(join(folder, 'node_modules/@middy'), { recursive: true });
  for (const name of ['vitest', '@middy/core', '@jest']) {
    await symlink(join(repository, 'node_modules', name), join(folder, 'node_modules', name));
  }
  const vitest = files.get('nightly.vitest.mjs') ?? '';
  files.set('nightly.jest.mjs', vitest.replace("from 'vitest'", "from '@jest/globals'"));
  for (const [name, code] of files) await writeFile(join(folder, name), code);
});
afterAll(() => leasehold?.[Symbol.asyncDispose]());

const node = (...args: string[]) => run(process.execPath, args, folder);
const jestProgram = join(repository, 'node_modules/jest/bin/jest.js');

test('the page names the files of each test runner', () => {
  expect([...files.keys()]).toEqual(
    expect.arrayContaining(['nightly.mjs', 'setup.mjs', 'vitest.config.mjs', 'jest.config.mjs', 'report.test.cjs']),
  );
});

test('Vitest runs the tests of the page', async () => {
  const vitest = join(repository, 'node_modules/vitest/vitest.mjs');
  await node(vitest, 'run', '--reporter', 'json', '--outputFile', 'told.json');
  expect(JSON.parse(readFileSync(join(folder, 'told.json'), 'utf8'))).toMatchObject({
    numPassedTests: 2,
    numFailedTests: 0,
  });
});

test.each([
  ['ES modules', ['--experimental-vm-modules'], ['--config', 'jest.config.mjs'], 2],
  ['CommonJS', [], ['--config', '{"testMatch":["**/report.test.cjs"],"transform":{}}'], 1],
])('Jest runs the tests of the page with %s', async (_, options, config, passed) => {
  const told = await node(...options, jestProgram, '--rootDir', folder, '--json', ...config);
  expect(JSON.parse(told)).toMatchObject({ numPassedTests: passed, numFailedTests: 0 });
});
