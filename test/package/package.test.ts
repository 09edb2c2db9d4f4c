import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { SourceMap, type SourceMapPayload } from 'node:module';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { build } from 'esbuild';
import { blocksOf, examplesOf } from '../docs/blocks.ts';
import { pages } from '../docs/pages.ts';
import { S3Server } from '../s3/server.ts';
import { isRedisInstalled, RedisServer } from '../support/redis-servers.ts';
import { type DynamoDB, describe as describeWithDynamoDB, startDynamoDB } from '../support/with-dynamodb.ts';
import { makeConsumer, type PackedPackage, packAndInstall, repository, run, runNode } from './consumer.ts';

jest.setTimeout(120_000);

// Packages that a user has installed beside leasehold, and the programs in consumer/ that need no others.
const installations = [
  { beside: 'nothing', peers: [], programs: ['lease', 'tasks', 'file'], skipLibCheck: false },
  {
    beside: 'the SDK client',
    peers: ['@aws-sdk/client-dynamodb'],
    programs: ['dynamodb', 'middy'],
    skipLibCheck: false,
  },
  { beside: "the SDK's client for S3", peers: ['@aws-sdk/client-s3'], programs: ['s3'], skipLibCheck: false },
  // The types of node-redis ask for a lib of DOM that a Node project has not.
  { beside: 'node-redis', peers: ['redis'], programs: ['redis'], skipLibCheck: true },
  { beside: 'the CDK', peers: ['aws-cdk-lib', 'constructs'], programs: ['cdk'], skipLibCheck: false },
];
const withMiddy = {
  beside: 'Middy',
  peers: ['@aws-sdk/client-dynamodb', '@middy/core'],
  programs: ['middy-core'],
  // Middy's types import those of the durable execution SDK, which it does not install.
  skipLibCheck: true,
};

/** Exports whose types the compiler infers, and must name in the user's declaration file. */
const exported = [
  {
    place: 'the middlewares and the plugin, exported',
    code: `
      import { lock, lockPlugin, lockRecords } from 'leasehold/middy';
      export const one = lock({ key: 'one' });
      export const records = lockRecords({ key: ({ body }) => body });
      export const plugin = lockPlugin();
      export const late = lockPlugin({ timeoutEarlyInMillis: 50 });
    `,
  },
  {
    place: 'the wrapped handlers, exported',
    code: `
      import { withLock, withRecordLocks } from 'leasehold/middy';
      export const lease = withLock({ key: 'one', onBusy: 'skip' }, async (_event: object, { lock }) => lock);
      export const busy = withLock({ key: 'one', onBusy: (error) => error }, async (_event: object) => 'done');
      export const records = withRecordLocks({ key: ({ body }) => body }, async (_event, { locks }) => locks);
    `,
  },
];

const runtimeEntries = ['leasehold', 'leasehold/dynamodb', 'leasehold/middy', 'leasehold/tasks', 'leasehold/testing'];

const compilerOptions = { target: 'es2022', lib: ['es2022'], types: ['node'], strict: true, outDir: 'out' };
const nodenext = { compiler: 'typescript', compilerOptions: { ...compilerOptions, module: 'nodenext' } };
// TypeScript 7 has no node10 any more, so this is also what shows that an older compiler can read our types.
const node10 = {
  compiler: 'typescript5',
  compilerOptions: { ...compilerOptions, module: 'commonjs', moduleResolution: 'node10' },
};

// The oldest compiler that can read our types. It cannot read those of @types/node and of the SDK.
const oldest = { compiler: 'typescript50', installations: installations.slice(0, 2).map(uncheckedLibraries) };
function uncheckedLibraries<T extends object>(installation: T) {
  return { ...installation, skipLibCheck: true };
}

const LOCK = "export { lock, lockPlugin } from 'leasehold/middy'";
const HANDLER = `
  import middy from '@middy/core';
  import { lock, lockPlugin } from 'leasehold/middy';
  export const handler = middy(lockPlugin()).use(lock({ key: 'nightly' })).handler(async () => {});
`;

let leasehold: PackedPackage;
let dynamodb: DynamoDB;
let s3: S3Server;
let redis: RedisServer | undefined;
beforeAll(async () => {
  leasehold = await packAndInstall();
  dynamodb = await startDynamoDB();
  s3 = await S3Server.start();
  s3.makeBucket('consumer');
  if (isRedisInstalled) redis = await RedisServer.start();
  Object.assign(process.env, dynamodb.environment, {
    LOCK_TABLE_NAME: await dynamodb.createLockTable(),
    AWS_ENDPOINT_URL_S3: s3.endpoint,
    ...(redis && { REDIS_URL: `redis://127.0.0.1:${redis.port}` }),
  });
});
afterAll(async () => {
  await s3?.[Symbol.asyncDispose]();
  await redis?.[Symbol.asyncDispose]();
  await leasehold?.[Symbol.asyncDispose]();
  await dynamodb?.stop();
});

describeWithDynamoDB.each([
  { consumer: 'an ES module', type: 'module', ...nodenext, installations: [...installations, withMiddy] },
  { consumer: 'CommonJS with NodeNext', type: 'commonjs', ...nodenext, installations },
  { consumer: 'CommonJS with node10', type: 'commonjs', ...node10, installations },
  {
    consumer: 'an ES module with TypeScript 5.0',
    type: 'module',
    ...oldest,
    compilerOptions: { ...compilerOptions, module: 'node16' },
  },
  { consumer: 'CommonJS with TypeScript 5.0 and node10', type: 'commonjs', ...node10, ...oldest },
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

// Each block alone: beside another one, the compiler may name a type by an import of that one.
describeWithDynamoDB.each([
  { consumer: 'an ES module', type: 'module' },
  { consumer: 'a CommonJS project', type: 'commonjs' },
])('$consumer with the tsconfig.json of `cdk init` can write declarations for', ({ type }) => {
  const template = join(repository, 'node_modules/aws-cdk/lib/init-templates/app/typescript/tsconfig.json');
  let folder: string;
  let tsconfig: object;
  beforeAll(async () => {
    tsconfig = JSON.parse(await readFile(template, 'utf8'));
    const peers = [
      '@types/node',
      '@aws-sdk/client-dynamodb',
      '@aws-sdk/client-s3',
      '@aws-sdk/lib-dynamodb',
      '@valkey/valkey-glide',
      'aws-cdk-lib',
      'constructs',
      'ioredis',
      'redis',
    ];
    folder = await makeConsumer(leasehold, { packageJson: { type }, tsconfig, peers });
    // A type that is found through a link stands outside of the project, and could not be named.
    for (const name of ['@types/aws-lambda', '@middy/core', '@middy/http-error-handler']) {
      await cp(join(repository, 'node_modules', name), join(folder, 'node_modules', name), { recursive: true });
    }
    await cp(join(repository, 'test/docs/old-locks.d.ts'), join(folder, 'old-locks.d.ts'));
    // The template's project has jest; the blocks do not use it.
    await mkdir(join(folder, 'node_modules/@types/jest'));
    await writeFile(join(folder, 'node_modules/@types/jest/index.d.ts'), '');
  });

  const blocks = [...pages.flatMap(blocksOf), ...examplesOf('middleware'), ...exported];
  // Middy is an ES module alone, and tells a CommonJS module no types.
  const able = blocks.filter(({ code }) => type === 'module' || !code.includes("'@middy/core'"));
  test.each(able)('$place', async ({ place, code }) => {
    const file = `${place.replaceAll(/\W/g, '_')}.ts`;
    await writeFile(join(folder, file), `${code}\nexport {};\n`);
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ ...tsconfig, files: [file, 'old-locks.d.ts'] }));
    const errors = await runNode('typescript/bin/tsc', [], folder).catch(({ message }) => String(message));
    // Only an ES module may use await at its top level, and `import.meta`.
    const moduleOnly = /error TS(1309|1470)/;
    expect(errors.split('\n').filter((line) => /error TS/.test(line) && !moduleOnly.test(line))).toEqual([]);
  });
});

describeWithDynamoDB('CommonJS jest', () => {
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
    const peers = ['@aws-sdk/client-dynamodb', '@middy/core'];
    const resolveDir = await makeConsumer(leasehold, { peers, packageJson: {}, tsconfig: {} });
    const result = await build({
      stdin: { contents: source, resolveDir },
      external: ['@aws-sdk/*'],
      bundle: true,
      minify: true,
      platform: 'node',
      format: 'esm',
      mainFields: ['module', 'main'],
      sourcemap: 'external',
      outdir: '.',
      metafile: true,
      write: false,
    });
    const imports = Object.values(result.metafile.outputs).flatMap(({ imports }) => imports.map(({ path }) => path));
    const [map, code] = result.outputFiles;
    const sizes = { bytes: code!.contents.length, gzipped: gzipSync(code!.contents).length };
    return { ...sizes, sources: sourcesOf(code!.text, JSON.parse(map!.text)), imports };
  }

  /** The source files of leasehold that a bundle has code of, such as `lib/lease/lease.ts`. */
  function sourcesOf(code: string, payload: SourceMapPayload): string[] {
    const map = new SourceMap(payload);
    const sources = new Set<string>();
    for (const [line, text] of code.split('\n').entries()) {
      for (let column = 0; column < text.length; column++) {
        const entry = map.findEntry(line, column);
        if ('originalSource' in entry) sources.add(entry.originalSource.replace(/^.*node_modules\/leasehold\//, ''));
      }
    }
    return [...sources];
  }

  // `npm run bench` prints the size of the protocol, its messages and the store's expressions. A bound grows only
  // for what a user would miss.
  test.each([
    { what: 'lock() and lockPlugin()', source: LOCK, bytes: 98_850, gzipped: 36_600 },
    { what: 'a whole handler with Middy, and no SDK', source: HANDLER, bytes: 101_900, gzipped: 37_790 },
  ])('of $what has less than $bytes bytes, and less than $gzipped gzipped', async ({ source, bytes, gzipped }) => {
    const size = await bundle(source);
    expect(size.bytes).toBeLessThan(bytes);
    expect(size.gzipped).toBeLessThan(gzipped);
  });

  test("with lock() has nothing of the operators' calls", async () => {
    const { sources } = await bundle(LOCK);
    expect(sources).toContain('middleware/lock.ts');
    expect(sources.filter((path) => /(operate|resume|inspect|operator-writes)\.ts$/.test(path))).toEqual([]);
  });

  test.each(['leasehold/dynamodb', 'leasehold/middy', 'leasehold/tasks', 'leasehold'])(
    'with %s has nothing of S3, Redis and files',
    async (entry) => {
      const { sources, imports } = await bundle(`export * from '${entry}'`);
      expect(sources).toContainEqual(expect.stringMatching(/^(lib|middleware)\//));
      expect(sources.filter((path) => /^lib\/(s3|redis|file|swap)/.test(path))).toEqual([]);
      expect(imports.filter((path) => /client-s3|redis|valkey/.test(path))).toEqual([]);
    },
  );

  test.each(['leasehold/redis', 'leasehold/file'])('with %s has nothing of AWS', async (entry) => {
    const { sources, imports } = await bundle(`export * from '${entry}'`);
    expect(sources.filter((path) => /^lib\/(aws|dynamodb|s3)/.test(path))).toEqual([]);
    expect(imports.filter((path) => !path.startsWith('node:'))).toEqual([]);
  });

  test.each(runtimeEntries)('with %s has nothing of the constructs and needs only Node and the SDK', async (entry) => {
    const { sources, imports } = await bundle(`export * from '${entry}'`);
    expect(sources).toContainEqual(expect.stringMatching(/^(lib|middleware)\//));
    expect(sources.filter((path) => path.includes('/cdk/'))).toEqual([]);
    expect(imports.filter((path) => !/^(node:|@aws-sdk\/)/.test(path))).toEqual([]);
  });
});
