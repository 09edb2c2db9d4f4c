import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { build } from 'esbuild';
import { parse } from 'yaml';
import { DynamoDBLockStore } from '../../lib/dynamodb/store.ts';
import { LockClient } from '../../lib/lease/client.ts';
import { makeProject, type PackedPackage, packAndInstall, repository, run, runNode } from '../package/consumer.ts';
import { type DynamoDB, describe as describeWithDynamoDB, startDynamoDB } from '../support/with-dynamodb.ts';

jest.setTimeout(60_000);

let leasehold: PackedPackage;
let dynamodb: DynamoDB;
beforeAll(async () => {
  leasehold = await packAndInstall();
  dynamodb = await startDynamoDB();
});
afterAll(async () => {
  await leasehold?.[Symbol.asyncDispose]();
  await dynamodb?.stop();
});

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

const packageJson = async (folder: string) => JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));

/** Tools of the examples' users that do not run here: npm brings none of them along with this repository. */
const ABSENT = ['osls', 'tsx'];

/** Copies an example out of the repository, with the packed leasehold and what its package.json names alone. */
async function project(example: string): Promise<string> {
  const source = join(repository, 'examples', example);
  const { dependencies, devDependencies } = await packageJson(source);
  const packages = Object.keys({ ...dependencies, ...devDependencies });
  const peers = packages.filter((name) => name !== 'leasehold' && !ABSENT.includes(name));
  for (const name of peers) expect(existsSync(join(repository, 'node_modules', name))).toBe(true);
  return makeProject(leasehold, source, peers);
}

const compile = (folder: string) => runNode('typescript/bin/tsc', [], folder);

/** Starts a program of a project by the Node that runs the tests, and keeps all that it says. */
function start(folder: string, file: string, environment: Record<string, string>) {
  const child = spawn(process.execPath, [file], { cwd: folder, env: { ...process.env, ...environment } });
  children.push(child);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data) => {
      said += data;
    });
  }
  const exited = once(child, 'exit').then(([code, signal]) => ({ code, signal }));
  const until = async (text: string) => {
    while (!said.includes(text)) {
      if (child.exitCode !== null) throw new Error(`Expected '${text}', but the program ended with:\n${said}`);
      await sleep(20);
    }
  };
  return { child, exited, until, said: () => said };
}

/**
 * The outcomes of a bundled handler: two calls for one night at the same moment, and a third afterwards. As on Lambda, the
 * bundle finds the SDK, and no other package.
 */
async function outcomesOf(bundle: string): Promise<string[]> {
  const code = `
    const { handler } = await import('./${basename(bundle)}');
    const context = () => ({ getRemainingTimeInMillis: () => 30_000 });
    const call = async () => (await handler({ time: '2026-01-01T02:00:00Z' }, context())).outcome;
    const both = await Promise.all([call(), call()]);
    console.log(JSON.stringify([...both.sort(), await call()]));`;
  const folder = await mkdtemp(join(tmpdir(), 'leasehold-function-'));
  try {
    await cp(bundle, join(folder, basename(bundle)));
    await mkdir(join(folder, 'node_modules'));
    await symlink(join(repository, 'node_modules/@aws-sdk'), join(folder, 'node_modules/@aws-sdk'));
    Object.assign(process.env, dynamodb.environment, { LOCK_TABLE_NAME: await dynamodb.createLockTable() });
    return JSON.parse(await run(process.execPath, ['--input-type=module', '--eval', code], folder));
  } finally {
    await rm(folder, { recursive: true });
  }
}
const OUTCOMES = ['busy', 'done', 'already done'];

describe('the package.json of an example', () => {
  test.each(['cdk', 'sam', 'serverless', 'terraform', 'ecs', 'node'])('%s asks for this version', async (example) => {
    const { version } = await packageJson(repository);
    const { private: isPrivate, dependencies } = await packageJson(join(repository, 'examples', example));
    expect({ isPrivate, range: dependencies.leasehold }).toEqual({ isPrivate: true, range: `^${version}` });
  });
});

describeWithDynamoDB('a deployed function', () => {
  test.each(['serverless', 'terraform'])('compiles, bundles and runs, as npm run build of %s does', async (example) => {
    const folder = await project(example);
    const { scripts } = await packageJson(folder);
    const [compiler, bundler = '', ...more] = scripts.build.split(' && ');
    expect([compiler, ...more]).toEqual(['tsc']);
    await compile(folder);
    const [name, ...options] = bundler.split(' ');
    expect(name).toBe('esbuild');
    await run(join(repository, 'node_modules/.bin/esbuild'), options, folder);
    expect(await outcomesOf(join(folder, 'dist/nightly.mjs'))).toEqual(OUTCOMES);
  });

  test('of SAM compiles, bundles as its metadata says, and runs', async () => {
    const folder = await project('sam');
    await compile(folder);
    const template = await readFile(join(folder, 'template.yaml'), 'utf8');
    const { BuildProperties } = parse(template, { logLevel: 'silent' }).Resources.Nightly.Metadata;
    const { EntryPoints, Format, OutExtension, Target, MainFields, Minify, External, ...more } = BuildProperties;
    expect(more).toEqual({});
    await build({
      absWorkingDir: folder,
      entryPoints: EntryPoints,
      format: Format,
      outExtension: Object.fromEntries(OutExtension.map((pair: string) => pair.split('='))),
      target: Target,
      mainFields: MainFields.split(','),
      minify: Minify,
      external: External,
      outdir: 'dist',
      bundle: true,
      platform: 'node',
    });
    expect(await outcomesOf(join(folder, 'dist/nightly.mjs'))).toEqual(OUTCOMES);
  });
});

describeWithDynamoDB('the example of the CDK', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await project('cdk');
    // A type that is found through a link stands outside of the project, and the compiler could not name it.
    for (const name of ['@types/aws-lambda', '@middy/core', '@middy/util']) {
      await rm(join(folder, 'node_modules', name), { force: true });
      await cp(join(repository, 'node_modules', name), join(folder, 'node_modules', name), { recursive: true });
    }
    // The CDK looks for the root of the project by the file that npm install writes.
    await writeFile(join(folder, 'package-lock.json'), '{}');
  });

  test('compiles, and passes its own tests', async () => {
    await compile(folder);
    await runNode('jest/bin/jest.js', ['--rootDir', folder], folder);
  });

  test('is synthesised, with a bundle of the handler that runs', async () => {
    const sources = ['bin/jobs.ts', 'lib/jobs-stack.ts'];
    await build({ absWorkingDir: folder, entryPoints: sources, outdir: '.', format: 'cjs', platform: 'node' });
    process.env.CDK_OUTDIR = join(folder, 'cdk.out');
    await run(process.execPath, ['bin/jobs.js'], folder);
    const [bundle = '', ...more] = globSync('cdk.out/asset.*/index.mjs', { cwd: folder });
    expect(more).toEqual([]);
    expect(await outcomesOf(join(folder, bundle))).toEqual(OUTCOMES);
  });
});

describeWithDynamoDB('the worker of ECS', () => {
  const SIGNALS = ['SIGTERM', 'SIGINT'] as const;

  test.each(SIGNALS)('compiles, takes the lock, and at %s releases the lock and exits with 0', async (signal) => {
    const folder = await project('ecs');
    await compile(folder);
    const dockerfile = await readFile(join(folder, 'Dockerfile'), 'utf8');
    const [, command = '[]'] = /^CMD (.*)$/m.exec(dockerfile) ?? [];
    expect(JSON.parse(command)).toEqual(['node', 'worker.ts']);
    expect(dockerfile).toContain('COPY worker.ts');

    const tableName = await dynamodb.createLockTable();
    const locks = new LockClient({ store: new DynamoDBLockStore({ tableName, client: dynamodb.client() }) });
    const environment = { ...dynamodb.environment, LOCK_TABLE_NAME: tableName };
    const { child, exited, until, said } = start(folder, 'worker.ts', environment);
    await until('"acquired"');
    expect(await locks.inspect('worker/import')).toMatchObject({ held: true });
    child.kill(signal);
    expect(await exited).toEqual({ code: 0, signal: null });
    expect(said()).toMatch(/"released".*\n$/);
    expect(said()).not.toContain('Error');
    expect(await locks.inspect('worker/import')).toMatchObject({ held: false });
  });
});

describe('the script of Node', () => {
  test('lets one of two processes import, and tells the other who holds the lock', async () => {
    const folder = await project('node');
    await mkdir(join(folder, 'locks'), { mode: 0o700 });
    const { scripts } = await packageJson(folder);
    expect(scripts.start).toBe('node import.js');
    const first = start(folder, 'import.js', {});
    await first.until('importing');
    const second = start(folder, 'import.js', {});
    expect(await second.exited).toEqual({ code: 75, signal: null });
    expect(second.said()).toContain(`:${first.child.pid}`);
    expect(await first.exited).toEqual({ code: 0, signal: null });
    expect(first.said()).toContain('imported');
  });
});
