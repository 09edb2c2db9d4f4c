import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const MODEL = join(import.meta.dirname, 'lease.pml');

/** The bounds of a configuration. lease.pml explains them. */
export type Bounds = Readonly<Record<string, number>>;

export interface Verdict {
  /** The number of visited states: every state, unless an invariant or a property is violated. */
  readonly states: number;
  readonly seconds: number;
  /** The violated invariant by its number, or the violated property by its name. */
  readonly violated?: string;
  /** The steps to the violation. */
  readonly story: string;
}

/** The programs that the check needs and that are not installed. */
export async function missingPrograms(): Promise<string[]> {
  const needed = [
    ['spin', '-V'],
    ['gcc', '--version'],
  ] as const;
  const found = await Promise.allSettled(needed.map(([program, flag]) => run(program, [flag])));
  return needed.map(([program]) => program).filter((_, index) => found[index]?.status === 'rejected');
}

/** The names of the faults that lease.pml can plant. */
export const plantableFaults = async (): Promise<string[]> => (await numbered(/1[0-9]{2}/)).map(({ name }) => name);

/**
 * Visits every state of the model within the bounds, up to the first violation. With `fault`, the model has that fault.
 * @throws Error when spin or the compiler refuses the model, or when spin left out a state.
 */
export async function check(bounds: Bounds, fault?: string): Promise<Verdict> {
  const folder = await mkdtemp(join(tmpdir(), 'leasehold-model-'));
  const here = { cwd: folder, maxBuffer: 1 << 26 };
  const defines = Object.entries({ ...bounds, ...(fault && { MUTANT: fault }) });
  const flags = defines.map(([name, value]) => `-D${name}=${value}`);
  try {
    await copyFile(MODEL, join(folder, 'lease.pml'));
    await run('spin', ['-a', ...flags, 'lease.pml'], here);
    // spin compares whole states, and not their hashes. NOREDUCE, since every step uses shared variables. MEMLIM is in
    // MB.
    await run('gcc', '-O1 -w -DSAFETY -DNOREDUCE -DMEMLIM=1800 -o pan pan.c'.split(' '), here);
    const { stdout } = await run('./pan', ['-m20000', '-w22', '-n'], here);
    const violated = /assertion violated .*\|\|\(([0-9]+)==0\)\)/.exec(stdout)?.[1];
    if (violated === undefined && (!stdout.includes('errors: 0') || /not completed|too small/.test(stdout))) {
      throw new Error(`Expected spin to visit every state, but it said:\n${stdout}`);
    }
    return {
      states: Number(/([0-9.e+]+) states, stored/.exec(stdout)?.[1]),
      seconds: Number(/elapsed time ([0-9.e+-]+)/.exec(stdout)?.[1]),
      ...(violated !== undefined && { violated: await propertyOf(violated) }),
      story: violated === undefined ? '' : await storyOf(flags, here),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The names that lease.pml gives to numbers of this form, in the order of the file. */
async function numbered(form: RegExp): Promise<{ name: string; number: string }[]> {
  const lines = (await readFile(MODEL, 'utf8')).matchAll(new RegExp(`^#define ([A-Z_]+) (${form.source})\\b`, 'gm'));
  return [...lines].map(([, name = '', number = '']) => ({ name, number }));
}

async function propertyOf(number: string): Promise<string> {
  const property = (await numbered(/2[0-9]{2}/)).find((each) => each.number === number);
  return property?.name.toLowerCase().replaceAll('_', ' ') ?? `invariant ${number}`;
}

async function storyOf(flags: readonly string[], here: { cwd: string }): Promise<string> {
  const { stdout } = await run('spin', ['-t', '-T', ...flags, 'lease.pml'], here);
  return stdout
    .split('\n')
    .filter((line) => /^[0-9]+: /.test(line))
    .join('\n');
}
