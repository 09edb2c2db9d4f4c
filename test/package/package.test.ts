import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { build } from 'esbuild';
import { type DynamoDB, startDynamoDB } from '../../demo/local/launcher.ts';
import { makeConsumer, type PackedPackage, packAndInstall, repository, run, runNode } from './consumer.ts';

jest.setTimeout(120_000);

// Packages that a user has installed beside leasehold, and the programs in consumer/ that need no others.
const installations = [
  { beside: 'nothing', peers: [], programs: ['lease', 'tasks'], skipLibCheck: false },
  {
    beside: 'the SDK client',
    peers: ['@aws-sdk/client-dynamodb'],
    programs: ['dynamodb', 'middy'],
    skipLibCheck: false,
  },
  { beside: 'the CDK', peers: ['aws-cdk-lib', 'constructs'], programs: ['cdk'], skipLibCheck: false },
];
const withMiddy = {
  beside: 'Middy',
  peers: ['@aws-sdk/client-dynamodb', '@middy/core'],
  programs: ['middy-core'],
  // Middy's types import those of the durable execution SDK, which it does not install.
  skipLibCheck: true,
};

const runtimeEntries = ['leasehold', 'leasehold/dynamodb', 'leasehold/middy', 'leasehold/tasks', 'leasehold/testing'];

const compilerOptions = { target: 'es2022', lib: ['es2022'], types: ['node'], strict: true, outDir: 'out' };
const nodenext = { compiler: 'typescript', compilerOptions: { ...compilerOptions, module: 'nodenext' } };
// TypeScript 7 has no node10 any more, so this is also what shows that an older compiler can read our types.
const node10 = {
  compiler: 'typescript5',
  compilerOptions: { ...compilerOptions, module: 'commonjs', moduleResolution: 'node10' },
};

let leasehold: PackedPackage;
let dynamodb: DynamoDB;
beforeAll(async () => {
  leasehold = await packAndInstall();
  dynamodb = await startDynamoDB();
  Object.assign(process.env, dynamodb.environment, { LOCK_TABLE_NAME: await dynamodb.createLockTable() });
});
afterAll(async () => {
  await leasehold?.[Symbol.asyncDispose]();
  await dynamodb?.stop();
});

describe('the tarball', () => {
  test('holds the compiled entries, their types and the papers, and nothing else', () => {
    const expected = /^(dist\/(esm|cjs)\/(lib|middleware|bin)\/.+\.(js|d\.ts)|dist\/cjs\/package\.json)$/;
    const papers = ['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'];
    expect(leasehold.files.filter((path) => !expected.test(path)).sort()).toEqual(papers);
  });

  test('brings no other package with it', async () => {
    const lock = JSON.parse(await readFile(join(leasehold.folder, 'package-lock.json'), 'utf8'));
    expect(Object.keys(lock.packages)).toEqual(['', 'node_modules/leasehold']);
  });

  test('tells the types of every entry to a compiler that cannot read exports', async () => {
    const { exports, typesVersions } = JSON.parse(await readFile(join(repository, 'package.json'), 'utf8'));
    for (const [entry, conditions] of Object.entries<{ require: { types: string } }>(exports)) {
      if (entry === '.' || entry === './package.json') continue;
      expect(typesVersions['*'][entry.slice('./'.length)]).toEqual([conditions.require.types]);
    }
  });
});

describe.each([
  { consumer: 'an ES module', type: 'module', ...nodenext, installations: [...installations, withMiddy] },
  { consumer: 'CommonJS with NodeNext', type: 'commonjs', ...nodenext, installations },
  { consumer: 'CommonJS with node10', type: 'commonjs', ...node10, installations },
])('$consumer', ({ type, compiler, compilerOptions, installations }) => {
  test.each(installations)('compiles and runs with $beside installed', async ({ peers, programs, skipLibCheck }) => {
    const folder = await makeConsumer(leasehold, {
      peers: ['@types/node', ...peers],
      packageJson: { type },
      tsconfig: {
        compilerOptions: { ...compilerOptions, skipLibCheck },
        files: programs.map((program) => `${program}.ts`),
      },
    });
    await runNode(`${compiler}/bin/tsc`, [], folder);
    for (const program of programs) {
      await run(process.execPath, ['-e', `import('./out/${program}.js').then(({ run }) => run())`], folder);
    }
  });
});

describe("the README's first handler", () => {
  test('compiles with the packages of its install line, and no others', async () => {
    const readme = await readFile(join(repository, 'README.md'), 'utf8');
    const [, packages = ''] = /^npm install leasehold (.*)$/m.exec(readme) ?? [];
    const [, code = ''] = /```ts\n(.*?)```/s.exec(readme) ?? [];
    expect(code).toContain("from 'leasehold/middy'");
    // The options of `tsc --init`, as far as they matter here.
    const compilerOptions = { target: 'es2022', module: 'nodenext', strict: true, skipLibCheck: true, noEmit: true };
    const folder = await makeConsumer(leasehold, {
      peers: packages.split(' '),
      packageJson: { type: 'module' },
      tsconfig: { compilerOptions, files: ['readme.ts'] },
    });
    await writeFile(join(folder, 'readme.ts'), code);
    await runNode(`${nodenext.compiler}/bin/tsc`, [], folder);
  });
});

describe('CommonJS jest', () => {
  test.each(installations)('requires what it uses with $beside installed', async ({ peers, programs }) => {
    const swc = join(repository, 'node_modules/@swc/jest/index.js');
    const transform = { '\\.ts$': [swc, { jsc: { parser: { syntax: 'typescript' } }, module: { type: 'commonjs' } }] };
    const folder = await makeConsumer(leasehold, {
      peers: ['@types/node', ...peers],
      packageJson: { jest: { testEnvironment: 'node', testMatch: ['**/*.spec.js'], transform } },
      tsconfig: {},
    });
    process.env.PROGRAMS = programs.join(' ');
    await runNode('jest/bin/jest.js', ['--rootDir', folder], folder);
  });
});

describe('a bundle', () => {
  async function bundle(source: string) {
    const peers = ['@aws-sdk/client-dynamodb'];
    const resolveDir = await makeConsumer(leasehold, { peers, packageJson: {}, tsconfig: {} });
    const result = await build({
      stdin: { contents: source, resolveDir },
      external: ['@aws-sdk/*'],
      bundle: true,
      minify: true,
      platform: 'node',
      format: 'esm',
      mainFields: ['module', 'main'],
      metafile: true,
      write: false,
    });
    const imports = Object.values(result.metafile.outputs).flatMap(({ imports }) => imports.map(({ path }) => path));
    return { bytes: result.outputFiles[0]!.contents.length, inputs: Object.keys(result.metafile.inputs), imports };
  }

  // `npm run bench` prints the size of the protocol, its messages and the store's expressions. The bound may only shrink.
  test('that already has the SDK client grows by less than 46,000 bytes with lock()', async () => {
    const { bytes } = await bundle("export { lock, lockPlugin } from 'leasehold/middy'");
    expect(bytes).toBeLessThan(46_000);
  });

  test.each(runtimeEntries)('with %s has nothing of the constructs and needs only Node and the SDK', async (entry) => {
    const { inputs, imports } = await bundle(`export * from '${entry}'`);
    expect(inputs).toContainEqual(expect.stringContaining('node_modules/leasehold/dist/esm/'));
    expect(inputs.filter((path) => path.includes('/cdk/'))).toEqual([]);
    expect(imports.filter((path) => !/^(node:|@aws-sdk\/)/.test(path))).toEqual([]);
  });
});
