// The types alone, with no other types beside them that could be too new for a compiler, or declare what ours need.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { makeConsumer, type PackedPackage, packAndInstall, runNode } from './consumer.ts';

jest.setTimeout(60_000);

const node16 = { moduleResolution: 'node16', module: 'node16' };
const bundler = { moduleResolution: 'bundler', module: 'es2022' };
const node10 = { moduleResolution: 'node10', module: 'commonjs' };
// Only TypeScript 5 has all of the ways to find a module.
const cases = [
  { compiler: 'typescript50', type: 'module', ...node16 },
  { compiler: 'typescript50', type: 'commonjs', ...node16 },
  { compiler: 'typescript50', type: 'module', ...bundler },
  { compiler: 'typescript50', type: 'commonjs', ...node10 },
  { compiler: 'typescript5', type: 'module', ...node16 },
  { compiler: 'typescript', type: 'module', ...bundler },
];
const tooOld = [
  { compiler: 'typescript49', type: 'module', ...node16 },
  { compiler: 'typescript49', type: 'commonjs', ...node16 },
  { compiler: 'typescript49', type: 'commonjs', ...node10 },
];
const program = `
  import { LockClient } from 'leasehold';
  import { runTasks } from 'leasehold/tasks';
  import { MemoryLockStore } from 'leasehold/testing';
  const locks = new LockClient({ store: new MemoryLockStore() });
  export async function work() {
    const lease = await locks.acquire('nightly');
    await lease[Symbol.asyncDispose]();
    await runTasks(['a'], { locks, key: (task) => task }, async (task: string) => task);
  }
  // Not of the type any:
  export const wrong: number = locks;
`;

let leasehold: PackedPackage;
beforeAll(async () => {
  leasehold = await packAndInstall();
});
afterAll(() => leasehold?.[Symbol.asyncDispose]());

async function compile({ compiler, type, ...options }: (typeof cases)[number]): Promise<string[]> {
  const general = { target: 'es2022', lib: ['es2022', 'dom'], types: [], strict: true, noEmit: true };
  const compilerOptions = { ...general, skipLibCheck: false, ...options };
  const tsconfig = { compilerOptions, files: ['program.ts'] };
  const folder = await makeConsumer(leasehold, { packageJson: { type }, tsconfig, peers: [] });
  await writeFile(join(folder, 'program.ts'), program);
  const output = await runNode(`${compiler}/bin/tsc`, [], folder).catch(({ message }) => String(message));
  return output.split('\n').filter((line) => line.includes('error TS'));
}

test.each(cases)('$compiler checks a $type project with $moduleResolution resolution', async (of) => {
  const notAny = /program.*TS2322: Type 'LockClient' is not assignable to type 'number'/;
  expect(await compile(of)).toEqual([expect.stringMatching(notAny)]);
});

test.each(tooOld)('$compiler says in a $type project with $moduleResolution that 5.0 is needed', async (of) => {
  const told = (await compile(of)).filter((line) => /needs-typescript-5\.0\.d\.ts' is not a module/.test(line));
  expect(told).toHaveLength(3);
});
