/** The command run, and the processes that its command starts: none of them works on when the lock is free. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, describe, expect, jest, test as testAlways } from '@jest/globals';
import { CommandProcesses, type Process } from '../../bin/processes.ts';
import { FileLockStore } from '../../lib/file.ts';
import { LockClient } from '../../lib/index.ts';
import { commandIn, testOnTerminal } from './run.ts';

jest.setTimeout(30_000);

const directory = mkdtempSync(join(tmpdir(), 'leasehold-processes-'));
mkdirSync(join(directory, 'locks'));
const locks = new LockClient({ store: new FileLockStore({ directory: join(directory, 'locks') }), owner: 'anna' });
const environment = { LOCK_STORE: pathToFileURL(join(directory, 'locks')).href, NO_COLOR: '1' };
afterAll(() => rmSync(directory, { recursive: true }));

/** A program that works until it is killed, and one that needs a second to end in order. */
const PLAIN = 'while :; do echo >> "$1"; sleep 0.02; done';
const IN_ORDER = `trap 'S=x$S' TERM; while [ \${#S} -eq 0 ]; do echo >> "$1"; sleep 0.02; done; for i in $(seq 50); do echo >> "$1"; sleep 0.02; done`;

const programs: number[] = [];
afterEach(() => {
  for (const pid of programs.splice(0)) {
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {}
  }
});

/**
 * Starts a program under a lock, below a shell that stays between the two.
 * @param isTerminal true for a run on a terminal, which shares its process group with the command.
 */
async function started(key: string, program: string, isTerminal: boolean, { options = '', below = 'sh' } = {}) {
  const paths = { program: join(directory, `${key}.sh`), log: join(directory, `${key}.log`) };
  const pids = join(directory, `${key}.pids`);
  writeFileSync(paths.program, program);
  rmSync(paths.log, { force: true });
  // The shell's parent is the run.
  const shell = `echo $PPID $$ > ${pids}; ${below} ${paths.program} ${paths.log}; true`;
  const { command, env } = commandIn(environment);
  const line = `${command.join(' ')} run ${key} ${options} -- sh -c '${shell}'`;
  // The shell on the terminal outlives the run, as a user's does: the end of a terminal ends its processes.
  const onTerminal = ['script', '-qec', `${line}; echo status $?; sleep 20`, '/dev/null'];
  const words = isTerminal ? onTerminal : ['sh', '-c', `exec ${line}`];
  const child = spawn(words[0] as string, words.slice(1), { env, stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  programs.push(child.pid as number);
  let said = '';
  const told = Promise.withResolvers<number>();
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (text) => {
      said += text;
      const [, status] = /^status (\d+)\r$/m.exec(said) ?? [];
      if (status !== undefined) told.resolve(Number(status));
    });
  }
  const exited = once(child, 'exit').then(([status]) => status as number);
  const ended = Promise.race([told.promise, exited]).then((status) => ({ status, said }));
  const size = () => {
    try {
      return statSync(paths.log).size;
    } catch {
      return 0;
    }
  };
  for (let tries = 0; size() === 0; tries++) {
    if (tries > 1_500) throw new Error(`Expected the program to begin, but the run said: ${said}`);
    await sleep(10);
  }
  const [run = 0, leader = 0] = readFileSync(pids, 'utf8').split(' ').map(Number);
  if (!isTerminal) programs.push(leader);
  return { ended, size, run: (signal: NodeJS.Signals) => process.kill(run, signal) };
}

/** Waits for the lock, and expects that nobody works while the next holder has it. */
async function expectQuiet(key: string, size: () => number) {
  const next = await locks.acquire(key, { waitMs: 20_000 });
  const before = size();
  await sleep(400);
  expect(size()).toBe(before);
  expect(next.isHeld()).toBe(true);
  await next.release();
}

const end = async (key: string) => locks.forceRelease(key, { lockId: (await locks.inspect(key))?.lockId ?? '' });

describe.each([
  ['without a terminal', testAlways, false],
  ['on a terminal', testOnTerminal, true],
] as const)('%s', (where, test, isTerminal) => {
  const keyOf = (name: string) => `${name}-${isTerminal}`;

  test(`a lost lease ends what the command has started (${where})`, async () => {
    const key = keyOf('lost');
    const { ended, size } = await started(key, PLAIN, isTerminal, { options: '--lease 3' });
    await end(key);
    await expectQuiet(key, size);
    expect(await ended).toMatchObject({ status: 70 });
  });

  test(`a lost lease ends what the command has started in a process group of its own (${where})`, async () => {
    const key = keyOf('timeout');
    const { ended, size } = await started(key, PLAIN, isTerminal, { options: '--lease 3', below: 'timeout 60 sh' });
    await end(key);
    await expectQuiet(key, size);
    expect(await ended).toMatchObject({ status: 70 });
  });

  test(`after SIGTERM, the lock is released when what the command has started has ended in order (${where})`, async () => {
    const key = keyOf('in-order');
    const { ended, size, run } = await started(key, IN_ORDER, isTerminal);
    const before = size();
    run('SIGTERM');
    await expectQuiet(key, size);
    expect(size() - before).toBeGreaterThan(30);
    expect(await ended).toMatchObject({ status: 143 });
  });

  test(`a run that stands still does not go on after the lease, not even to end in order (${where})`, async () => {
    const key = keyOf('still');
    const { size, run } = await started(key, IN_ORDER, isTerminal, { options: '--lease 2', below: 'exec sh' });
    run('SIGTSTP');
    const next = await locks.acquire(key, { waitMs: 20_000 });
    const before = size();
    await sleep(200);
    expect(size()).toBe(before);
    run('SIGCONT');
    await sleep(500);
    expect(size()).toBe(before);
    expect(next.isHeld()).toBe(true);
    await next.release();
  });
});

testAlways('the time from SIGTERM to SIGKILL is that of what the command has started, too', async () => {
  const cleaning = `trap 'sleep 0.4; echo cleaned > "$1.done"; exit' TERM; ${PLAIN}`;
  const { ended } = await started('cleaning', cleaning, false, { options: '--lease 3 --kill-after 1' });
  await end('cleaning');
  expect(await ended).toMatchObject({ status: 70 });
  expect(readFileSync(join(directory, 'cleaning.log.done'), 'utf8')).toBe('cleaned\n');
});

testAlways('a run that reads a terminal in the background is stopped together with its command', async () => {
  const { size, run } = await started('reading', PLAIN, false, { options: '--lease 2' });
  run('SIGTTIN');
  await expectQuiet('reading', size);
  run('SIGCONT');
});

describe('the processes that get a signal', () => {
  const one = (pid: number, parent: number, more: Partial<Process> = {}): Process => ({
    pid,
    parent,
    start: `${pid}`,
    group: 10,
    session: 10,
    isStopped: false,
    ...more,
  });
  const command = one(10, 1);
  /** @param tables the processes of the host at each look, the last one at all later looks. */
  const sent = (tables: Process[][], act: (processes: CommandProcesses) => void, isGroup = true) => {
    let looks = 0;
    const signals: [number, NodeJS.Signals | number | undefined][] = [];
    const kill = jest.spyOn(process, 'kill').mockImplementation((...signal) => {
      signals.push(signal as [number, NodeJS.Signals]);
      return true;
    });
    try {
      const table = () => tables[Math.min(looks++, tables.length - 1)];
      const processes = new CommandProcesses(isGroup, { LEASEHOLD_KEY: 'none' }, table);
      processes.began(10);
      act(processes);
      return signals;
    } finally {
      kill.mockRestore();
    }
  };
  const passOn =
    (isFromTerminal = false) =>
    (processes: CommandProcesses) =>
      processes.passOn('SIGTERM', isFromTerminal);

  testAlways('are not those that have got the numbers of ended ones', () => {
    const daemon = one(11, 10, { group: 11, session: 11 });
    const stranger = { ...daemon, parent: 1, start: 'later' };
    const twice = (processes: CommandProcesses) => {
      processes.left();
      processes.passOn('SIGTERM', false);
    };
    expect(sent([[command], [command, daemon], [command, daemon]], twice)).toEqual([
      [10, 'SIGTERM'],
      [11, 'SIGTERM'],
    ]);
    expect(sent([[command], [command, daemon], [command, stranger]], twice)).toEqual([[10, 'SIGTERM']]);
    // The number of the command itself, and so that of its session.
    const strangers = [one(10, 1, { start: 'later' }), one(12, 10, { start: 'later' })];
    expect(sent([[command], [command], strangers], twice)).toEqual([]);
  });

  testAlways('are the leader of each further group, and all members if there is no leader', () => {
    const timeout = [one(20, 10, { group: 20 }), one(21, 20, { group: 20 })];
    const orphans = [one(31, 1, { group: 30 }), one(32, 1, { group: 30 })];
    const table = [command, one(11, 10), ...timeout, ...orphans];
    const pids = (signals: [number, unknown][]) => signals.map(([pid]) => pid);
    expect(pids(sent([table], passOn()))).toEqual([10, 11, 20, 31, 32]);
    // Ctrl-C has reached the group of the command by itself.
    expect(pids(sent([table], passOn(true)))).toEqual([20, 31, 32]);
  });

  testAlways('are also those that have just been started', () => {
    const [child, other] = [one(11, 10), one(12, 11)];
    const stopped = (...all: Process[]) => all.map((process) => ({ ...process, isStopped: true }));
    const tables = [[command], [command, child], [...stopped(command, child), other], stopped(command, child, other)];
    expect(sent(tables, (processes) => processes.stop())).toEqual([
      [10, 'SIGSTOP'],
      [11, 'SIGSTOP'],
      [12, 'SIGSTOP'],
    ]);
    expect(sent([[command], [command, child], [other, { ...child }], []], (processes) => processes.kill())).toEqual([
      [10, 'SIGKILL'],
      [11, 'SIGKILL'],
      [12, 'SIGKILL'],
      [11, 'SIGKILL'],
    ]);
  });
});

testAlways('a command that could not be started has no processes', () => {
  const processes = new CommandProcesses(true, { LEASEHOLD_KEY: 'none' });
  expect(processes.left()).toEqual([]);
  processes.began(undefined);
  expect(processes.left()).toEqual([]);
  processes.began(process.pid);
  expect(processes.left()).toContain(process.pid);
});

testAlways('a run for a once token that was told to end is not done, whatever its exit status', async () => {
  const options = '--once 2026-01-01';
  const first = await started('once', IN_ORDER, false, { options });
  first.run('SIGTERM');
  // The shell between the two ends by the signal.
  expect((await first.ended).status).toBe(143);
  const program = `trap 'exit 0' TERM; ${PLAIN}`;
  const second = await started('once', program, false, { options, below: 'exec sh' });
  second.run('SIGTERM');
  expect(await second.ended).toEqual({
    status: 143,
    said: expect.stringContaining("stopped by SIGTERM, so the once token of 'once' is not done"),
  });
  expect((await locks.inspect('once'))?.doneToken).toBeUndefined();
});

testAlways('a command that ends by itself may leave something behind, which the run does not wait for', async () => {
  const program = `(while :; do echo >> "$1"; sleep 0.02; done) > /dev/null 2>&1 & sleep 0.2`;
  const { ended, size } = await started('behind', program, false);
  expect(await ended).toEqual({ status: 0, said: '' });
  expect(await locks.inspect('behind')).toMatchObject({ held: false, opensInMs: 0 });
  const before = size();
  await sleep(300);
  expect(size()).toBeGreaterThan(before);
});
