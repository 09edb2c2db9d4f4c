import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const command = join(import.meta.dirname, '../../bin/leasehold.ts');

/** The command line of the operators' command, and its environment. */
export const commandIn = (variables: Record<string, string>) => ({
  command: [process.execPath, command],
  env: { ...process.env, ...variables },
});

/** Runs the operators' command in a process of its own. A command that does not end by itself fails. */
export async function leaseholdIn(variables: Record<string, string>, args: readonly string[]) {
  const env = { ...process.env, ...variables };
  try {
    const options = { env, timeout: 15_000 };
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [command, ...args], options);
    return { status: 0, out: stdout, err: stderr };
  } catch (error) {
    const { code, signal, stdout, stderr } = error as Record<'stdout' | 'stderr', string> & {
      code: number;
      signal: string;
    };
    return { status: code ?? signal, out: stdout, err: stderr };
  }
}
