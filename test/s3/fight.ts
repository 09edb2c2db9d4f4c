import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { S3Place } from './questions.ts';

/** The outcome of a fight for one lock. */
export interface Fight {
  /** The tokens of all grants, from the least to the greatest. */
  readonly tokens: readonly number[];
  /** Grants that met another holder, tokens that did not grow, and leases that were lost. */
  readonly faults: readonly object[];
}

/**
 * Lets processes fight for one lock.
 * @param granted is called after each grant, with the number of grants so far.
 */
export async function fight(
  { processes, grants, ...place }: S3Place & { prefix?: string; processes: number; grants: number },
  granted: (count: number) => void = () => {},
): Promise<Fight> {
  const folder = mkdtempSync(join(tmpdir(), 'leasehold-s3-'));
  const tokens: number[] = [];
  const faults: object[] = [];
  const program = join(import.meta.dirname, 'programs/contender.ts');
  const hear = (line: string) => {
    const told = JSON.parse(line) as { token?: number };
    if (told.token === undefined) faults.push(told);
    else granted(tokens.push(told.token));
  };
  const one = async () => {
    const child = spawn(process.execPath, [program, JSON.stringify(place), folder, String(grants)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    children.push(child);
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (text + chunk).split('\n');
      text = lines.pop() ?? '';
      lines.forEach(hear);
    });
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      errors += chunk;
    });
    const [code] = await once(child, 'close');
    if (code !== 0) throw new Error(`A contender ended with ${code}:\n${errors}`);
  };
  const children: ChildProcess[] = [];
  try {
    await Promise.all(Array.from({ length: processes }, one));
  } finally {
    for (const child of children) child.kill('SIGKILL');
    rmSync(folder, { recursive: true });
  }
  return { tokens: tokens.sort((a, b) => a - b), faults };
}
