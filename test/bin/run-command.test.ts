import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, describe, expect, jest, test } from '@jest/globals';
import { FileLockStore } from '../../lib/file.ts';
import { LockClient } from '../../lib/index.ts';
import { commandIn, leaseholdIn } from './run.ts';

// A busy machine needs more time than Jest's default.
jest.setTimeout(30_000);

const directory = mkdtempSync(join(tmpdir(), 'leasehold-run-'));
const locks = new LockClient({ store: new FileLockStore({ directory }), owner: 'anna' });
const environment = { LOCK_STORE: pathToFileURL(directory).href };
afterAll(() => rmSync(directory, { recursive: true }));

const run = (...args: string[]) => leaseholdIn(environment, ['run', ...args]);

const running: ChildProcess[] = [];
afterEach(() => {
  for (const child of running.splice(0)) child.kill('SIGKILL');
});

/** Starts the command, and waits until the program under the lock has printed a line. */
async function started(...args: string[]) {
  const { command, env } = commandIn(environment);
  const child = spawn(command[0] as string, [...command.slice(1), 'run', ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.push(child);
  let err = '';
  child.stderr?.on('data', (text) => {
    err += text;
  });
  const ended = once(child, 'exit').then(([code]) => ({ code, err }));
  await Promise.race([once(child.stdout as NodeJS.ReadableStream, 'data'), ended]);
  return { child, ended };
}

const isFree = async (key: string) => {
  const lock = await locks.inspect(key);
  return lock !== undefined && lock.lockId === undefined && lock.opensInMs === 0;
};

describe('leasehold run', () => {
  test('gives the command the key and the fencing token, passes its exit status on, and releases the lock', async () => {
    const script = 'echo "$LEASEHOLD_KEY $LEASEHOLD_TOKEN $1"; exit 7';
    const { status, out } = await run('nightly', '--', 'sh', '-c', script, 'sh', '--once');
    const lock = await locks.inspect('nightly');
    expect({ status, out }).toEqual({ status: 7, out: `nightly ${lock?.fencingToken} --once\n` });
    expect(await isFree('nightly')).toBe(true);
  });

  test.each([
    [['--', 'env', 'echo', 'ran'], 'One word, the key, must stand before the dashes'],
    [['key', 'more', '--', 'echo', 'ran'], 'One word, the key, must stand before the dashes'],
    [['key', '--'], "missing required argument 'command'"],
    [['--', 'echo'], "missing required argument 'command'"],
    [['key', 'echo', '--table', 'many'], 'Two dashes must stand before the command: leasehold run KEY -- COMMAND.'],
  ])('refuses %j, which would run another command than was meant', async (args, message) => {
    expect(await run(...args)).toMatchObject({ status: 2, out: '', err: expect.stringContaining(message) });
    expect(await locks.inspect('env')).toBeUndefined();
  });

  test('gives the command the dashes that stand behind it', async () => {
    expect(await run('dashes', '--', 'echo', '--', 'a')).toMatchObject({ status: 0, out: '-- a\n' });
  });

  test('exits with 75 if the lock is busy, and does not start the command', async () => {
    const lease = await locks.acquire('busy');
    expect(await run('busy', '--', 'echo', 'ran')).toMatchObject({
      status: 75,
      out: '',
      err: expect.stringContaining('The holder is anna.'),
    });
    await lease.release();
  });

  test('waits for a busy lock with --wait', async () => {
    const lease = await locks.acquire('waiting');
    const ran = run('waiting', '--wait', '20', '--', 'echo', 'ran');
    setTimeout(() => lease.release(), 300);
    expect(await ran).toMatchObject({ status: 0, out: 'ran\n' });
  });

  test('runs once for a token: a failed run is repeated, and a run after success exits with 76', async () => {
    const once = ['monthly', '--once', '2026-01-01'];
    expect(await run(...once, '--', 'false')).toMatchObject({ status: 1 });
    expect(await run(...once, '--', 'true')).toMatchObject({ status: 0 });
    expect(await run(...once, '--', 'echo', 'ran')).toMatchObject({ status: 76, out: '' });
  });

  test.each([
    ['no-such-command', 127],
    ['/etc/passwd', 126],
    ['/etc/passwd/below', 126],
    ['x'.repeat(5_000), 126],
    ['', 126],
  ])('exits as a shell does if the command cannot be started, and releases the lock: %j', async (command, status) => {
    const err = expect.stringContaining(`'${command.slice(0, 20)}`);
    expect(await run('missing', '--lease', '3600', '--', command)).toMatchObject({ status, err });
    expect(await isFree('missing')).toBe(true);
  });

  test('says so if the release is not confirmed, and keeps the status of the command', async () => {
    const own = mkdtempSync(join(tmpdir(), 'leasehold-gone-'));
    const gone = await leaseholdIn({ LOCK_STORE: pathToFileURL(own).href }, [
      'run',
      'a',
      '--once',
      '1',
      '--',
      'rm',
      '-r',
      own,
    ]);
    expect(gone).toMatchObject({ status: 0, err: expect.stringContaining("the release of 'a' is not confirmed") });
  });

  test('takes a token that cannot be compared for wrong usage, which no later try would mend', async () => {
    expect(await run('tokens', '--once', 'run-9', '--', 'true')).toMatchObject({ status: 0 });
    const err = expect.stringContaining("whether 'run-10' is done");
    expect(await run('tokens', '--once', 'run-10', '--', 'true')).toMatchObject({ status: 2, err });
  });

  test('passes SIGTERM on to the command and to what it has started, and releases the lock', async () => {
    const { child, ended } = await started('stopped', '--', 'sh', '-c', 'sleep 20 & echo begun; wait');
    child.kill('SIGTERM');
    expect(await ended).toMatchObject({ code: 143 });
    expect(await isFree('stopped')).toBe(true);
  });

  test.each(['SIGQUIT', 'SIGALRM', 'SIGXCPU', 'SIGUSR1', 'SIGUSR2'] as const)(
    'passes %s on, which would leave the command without the lock',
    async (signal) => {
      const { child, ended } = await started('signalled', '--', 'sh', '-c', 'echo begun; sleep 20');
      child.kill(signal);
      expect((await ended).code).toBeGreaterThan(128);
      expect(await isFree('signalled')).toBe(true);
    },
  );

  test('stops together with its command, which does not go on after the lease', async () => {
    const script = 'for i in $(seq 200); do echo working; sleep 0.1; done';
    const { child, ended } = await started('frozen', '--lease', '2', '--', 'sh', '-c', script);
    let workedAt = performance.now();
    child.stdout?.on('data', () => {
      workedAt = performance.now();
    });
    child.kill('SIGTSTP');
    const next = await locks.acquire('frozen', { waitMs: 20_000 });
    expect(performance.now() - workedAt).toBeGreaterThan(200);
    child.kill('SIGCONT');
    expect(await ended).toMatchObject({ code: 70 });
    expect(next.isHeld()).toBe(true);
    await next.release();
  });

  test('ends a wait by SIGTERM, and starts no command', async () => {
    const lease = await locks.acquire('wait ended');
    const { command, env } = commandIn(environment);
    const args = [...command.slice(1), 'run', 'wait ended', '--wait', '60', '--', 'echo', 'ran'];
    const child = spawn(command[0] as string, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
    running.push(child);
    let out = '';
    child.stdout.on('data', (text) => {
      out += text;
    });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    child.kill('SIGTERM');
    const [code] = await once(child, 'exit');
    expect({ code, out }).toEqual({ code: 143, out: '' });
    await lease.release();
  });

  test('ends a command that ignores SIGTERM when an operator has ended the grant, and exits with 70', async () => {
    const pid = join(directory, 'pid');
    const script = `trap '' TERM; echo $$ > '${pid}'; echo begun; for i in $(seq 150); do sleep 0.1; done`;
    const { ended } = await started('lost', '--lease', '3', '--kill-after', '0.5', '--', 'sh', '-c', script);
    const { lockId = '' } = (await locks.inspect('lost')) ?? {};
    await locks.forceRelease('lost', { lockId });
    expect(await ended).toMatchObject({ code: 70, err: expect.stringContaining("the lease of 'lost' was lost") });
    expect(() => process.kill(Number(readFileSync(pid, 'utf8')), 0)).toThrow('ESRCH');
  });

  test.each(['true', 'false'])('exits with 70 if the release shows that the lease was lost, after %s', async (last) => {
    const key = `ended before ${last}`;
    const { ended } = await started(key, '--', 'sh', '-c', `echo begun; sleep 1.5; ${last}`);
    const { lockId = '' } = (await locks.inspect(key)) ?? {};
    await locks.forceRelease(key, { lockId });
    expect(await ended).toMatchObject({
      code: 70,
      err: expect.stringContaining(`the lease of '${key}' had been lost`),
    });
  });

  test.each([
    [['a', '--wait', 'long', '--', 'true'], "It must be a number of seconds from 0 to 999999999, but it is 'long'"],
    [['a', '--lease', '0', '--', 'true'], '--lease must be more than 0 seconds'],
    [['a', '--lease', '3', '--kill-after', '2', '--', 'true'], 'the command must be dead before the lock opens'],
    [['a'], "missing required argument 'command'"],
  ])('refuses %j', async (args, message) => {
    expect(await run(...args)).toMatchObject({ status: 2, out: '', err: expect.stringContaining(message) });
  });
});

test('the line of docs/outside-lambda.md that looks for a night without a run prints a line until the job has run', async () => {
  const page = readFileSync(new URL('../../docs/outside-lambda.md', import.meta.url), 'utf8');
  const [, line = ''] = /^0 6 \* \* \* (.*)$/m.exec(page) ?? [];
  const { command, env } = commandIn(environment);
  const [before, after] = ['cd /srv/jobs && node_modules/.bin/leasehold', command.map((word) => `'${word}'`).join(' ')];
  expect(line).toContain(before);
  const script = line.replace(before, after).replaceAll('\\%', '%');
  const look = async () => (await promisify(execFile)('sh', ['-c', script], { env })).stdout;
  expect(await look()).toBe('nightly-report did not run\n');
  const today = new Date().toISOString().slice(0, 10);
  await run('nightly-report', '--once', '2026-01-01', '--', 'true');
  expect(await look()).toBe('nightly-report did not run\n');
  await run('nightly-report', '--once', today, '--', 'true');
  expect(await look()).toBe('');
});

describe('leasehold watch', () => {
  test('prints a line for each change if its output is no terminal, and ends on SIGTERM with 0', async () => {
    const lease = await locks.acquire('watched/a');
    const { command, env } = commandIn(environment);
    const args = [...command.slice(1), 'watch', 'watched/', '--every', '0.2'];
    const child = spawn(command[0] as string, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
    running.push(child);
    let out = '';
    child.stdout.on('data', (text) => {
      out += text;
    });
    const shows = async (text: string) => {
      while (!out.includes(text)) await new Promise((resolve) => setTimeout(resolve, 50));
    };
    await shows('watched/a  held by anna');
    await lease.release();
    await shows('watched/a  free');
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
    expect(out.trim().split('\n')).toHaveLength(2);
  });
});

test('leasehold complete prints a script for the shell, and completes the commands', async () => {
  expect((await leaseholdIn({}, ['complete', 'bash'])).out).toContain('bash completion for leasehold');
  expect((await leaseholdIn({}, ['complete', '--', 're'])).out).toMatch(/^release\t.*\nrepair\t.*\nreset-once\t/);
});

describe('leasehold serve', () => {
  test('prints the URL of a page that shows the locks under a prefix, and ends on SIGTERM with 0', async () => {
    const { command, env } = commandIn(environment);
    const args = [...command.slice(1), 'serve', 'nightly'];
    const child = spawn(command[0] as string, args, { env, stdio: ['ignore', 'pipe', 'ignore'] });
    running.push(child);
    const [url] = await once(child.stdout, 'data');
    const page = await fetch(String(url).trim());
    expect({ status: page.status, text: await page.text() }).toEqual({
      status: 200,
      text: expect.stringMatching(/^<!doctype html>/i),
    });
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  test.each([
    [['--port', '70000'], 'It must be a whole number from 0 to 65535'],
    [['--every', '0'], 'It must be a number of seconds from 0.25'],
  ])('refuses %j', async (args, message) => {
    expect(await leaseholdIn(environment, ['serve', ...args])).toMatchObject({
      status: 2,
      err: expect.stringContaining(message),
    });
  });
});
