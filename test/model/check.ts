import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const MODEL = join(import.meta.dirname, 'lease.pml');

/** The bounds of a configuration, as lease.pml explains them. */
export type Bounds = Readonly<Record<string, number>>;

export interface Verdict {
  /** How many states were visited: all there are, unless something is violated. */
  readonly states: number;
  readonly seconds: number;
  /** What does not hold: an invariant by its number, or another property by its name. */
  readonly violated?: string;
  /** The steps that lead there. */
  readonly story: string;
}

/** Which programs the check needs and does not find here. */
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
 * Visits every state of the model within the bounds, with one fault planted or none, up to the first violation.
 * @throws Error when spin or the compiler refuses the model, or a state was left out.
 */
export async function check(bounds: Bounds, fault?: string): Promise<Verdict> {
  const folder = await mkdtemp(join(tmpdir(), 'leasehold-model-'));
  const here = { cwd: folder, maxBuffer: 1 << 26 };
  const defines = Object.entries({ ...bounds, ...(fault && { MUTANT: fault }) });
  const flags = defines.map(([name, value]) => `-D${name}=${value}`);
  try {
    await copyFile(MODEL, join(folder, 'lease.pml'));
    await run('spin', ['-a', ...flags, 'lease.pml'], here);
    // Whole states are compared, no hashes of them. NOREDUCE: every step touches what is shared. MEMLIM is in MB.
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

/** What lease.pml gives a number of this form, in its order. */
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
