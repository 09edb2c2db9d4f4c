import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { needing } from '../support/needing.ts';

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
    const options = { env, timeout: 25_000 };
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

/** Jest's `test`, for commands on a terminal. */
export const { test: testOnTerminal } = needing(
  existsSync('/usr/bin/script') ? undefined : 'skipped: install util-linux, for script',
);

/** Runs the operators' command on a terminal, until it asks something, and then goes on with the answer of `then`. */
export async function onTerminal(
  variables: Record<string, string>,
  args: readonly string[],
  then: (screen: string) => Promise<string>,
) {
  const { command: words, env } = commandIn({ ...variables, NO_COLOR: '1' });
  const terminal = spawn('script', ['-qec', [...words, ...args].join(' '), '/dev/null'], { env });
  const ended = once(terminal, 'close');
  let screen = '';
  const asked = new Promise<void>((resolve) => {
    terminal.stdout.on('data', (text) => {
      screen += text;
      if (screen.includes('[y/N]')) resolve();
    });
  });
  await Promise.race([asked, ended]);
  terminal.stdin.write(`${await then(screen)}\n`);
  const [status] = await ended;
  return { status, screen };
}
