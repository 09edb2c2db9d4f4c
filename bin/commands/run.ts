import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import type { Command } from 'commander';
import { type Lease, LockBusyError, type LockClient, LockDoneError, LockTokenError } from '../../lib/index.ts';
import { standardSafetyMs } from '../../lib/lease/options.ts';
import { show } from '../../lib/record/check.ts';
import { parserBetween, secondsOption } from '../numbers.ts';
import { atPlace } from '../place.ts';
import { CommandProcesses } from '../processes.ts';
import { paragraph, STOP_SIGNALS, UsageError, warn } from '../terminal.ts';

/** The exit statuses besides the command's own. `busy` is `EX_TEMPFAIL` of `sysexits.h`; the last two are a shell's. */
const STATUS = { lost: 70, busy: 75, done: 76, notExecutable: 126, notFound: 127, signal: 128 } as const;

/** The signals that tell a command to end. The last ones come of a timer, of a limit of the shell, and of the power supply. */
const STOPPING = [...STOP_SIGNALS, 'SIGQUIT', 'SIGALRM', 'SIGVTALRM', 'SIGXCPU', 'SIGIO', 'SIGPWR'] as const;
/** The signals that are passed on to the command. Any of them would end this process, and leave the command without the lock. */
const PASSED_ON = [...STOPPING, 'SIGUSR1', 'SIGUSR2'] as const;
type Signal = (typeof PASSED_ON)[number];
/** The signals that stop a process, as Ctrl-Z does, and the reading and writing of a terminal in the background. */
const HALTING = ['SIGTSTP', 'SIGTTIN', 'SIGTTOU'] as const;
/** The signals that a terminal sends to the command, too. */
const OF_TERMINAL: readonly Signal[] = ['SIGINT', 'SIGQUIT'];

interface Options {
  readonly wait: number;
  readonly once?: string;
  readonly atLeast: number;
  readonly lease: number;
  readonly killAfter?: number;
}

const NOTES = [
  'The environment of the command has LEASEHOLD_KEY and LEASEHOLD_TOKEN, the fencing token. If the lease is lost, the command ' +
    'and what it has started get SIGTERM, and later SIGKILL. After a signal to the run, the lock is released when all of them ' +
    'have ended. A command whose run was killed by SIGKILL goes on without the lock.',
  "Exit status: the command's own; 70 the lease was lost; 75 the lock is busy; 76 the once token is done.",
];

const seconds = parserBetween('a number of seconds', 0, 999_999_999);

export const addRun = (program: Command): Command =>
  program
    .command('run')
    .summary('hold the lock while a command runs')
    .description('hold the lock while a command runs: renew the lease, and release it afterwards')
    .addHelpText('after', () => NOTES.map(paragraph).join('\n'))
    .usage('[options] KEY -- COMMAND...')
    .argument('<key>', 'the key of the lock')
    .argument('<command...>', 'the command and its arguments')
    .addOption(secondsOption('--wait <seconds>', 'the longest wait for a busy lock', seconds, 0))
    .option(
      '--once <token>',
      'run once for this token, such as a date: it is done if the command exits with 0, and no signal told it to stop',
    )
    .addOption(secondsOption('--at-least <seconds>', 'keep the lock closed for that long from the start', seconds, 0))
    .addOption(secondsOption('--lease <seconds>', 'the time after which a dead host’s lock opens', seconds, 30))
    .option(
      '--kill-after <seconds>',
      'the time from SIGTERM to SIGKILL if the lease is lost, up to a third of --lease (default: 2, or a quarter of --lease)',
      (text: string) => seconds(text) * 1000,
    )
    .action(
      atPlace(({ locks }, options: Options, key: string, command: string[]) => {
        checkDash(command);
        return run(locks, key, options, command);
      }),
    );

/**
 * Refuses two lines that would run another command than was meant: `run -- env ./report.sh`, where the key was forgotten, and
 * `run KEY aws --region eu-west-1`, whose option would be taken for one of leasehold's.
 */
function checkDash(command: readonly string[]): void {
  const dash = process.argv.indexOf('--');
  if (dash === -1) throw new UsageError('Two dashes must stand before the command: leasehold run KEY -- COMMAND.');
  if (process.argv.length - dash - 1 === command.length) return;
  throw new UsageError('One word, the key, must stand before the dashes: leasehold run KEY -- COMMAND.');
}

/** The time that the end of a killed command may take. */
const reserveOf = (leaseMs: number): number => Math.min(500, leaseMs / 8);

interface Times {
  readonly leaseMs: number;
  readonly safetyMs: number;
  readonly killAfter: number;
}

/** The times of a lease whose command is dead before the lock opens to others. */
function timesOf({ lease: leaseMs, killAfter = Math.min(2_000, leaseMs / 4) }: Options): Times {
  if (leaseMs === 0) throw new UsageError('--lease must be more than 0 seconds, but it is 0.');
  if (killAfter > leaseMs / 3) {
    throw new UsageError(
      `--kill-after must be a third of --lease, ${leaseMs / 1000} s, at the most, but it is ${killAfter / 1000} s: the command must be dead before the lock opens.`,
    );
  }
  const safetyMs = Math.ceil(Math.max(standardSafetyMs(leaseMs), killAfter + reserveOf(leaseMs)));
  return { leaseMs, safetyMs, killAfter };
}

/**
 * 1. Acquires the lock. A signal ends the wait.
 * 2. Starts the command, and passes signals on to it.
 * 3. If the lease is lost, ends the command and what it has started.
 * 4. After a signal that told the command to end, waits for what it has started.
 * 5. Releases the lease. If the command succeeded, and was not told to end, its `once` token is done.
 */
async function run(locks: LockClient, key: string, options: Options, command: string[]): Promise<number> {
  const times = timesOf(options);
  let deliver: ((signal: Signal) => void) | undefined;
  let received: Signal | undefined;
  const waiting = new AbortController();
  const onSignal = (signal: Signal) => {
    received ??= signal;
    waiting.abort();
    deliver?.(signal);
  };
  for (const signal of PASSED_ON) process.on(signal, onSignal);
  try {
    const lease = await acquired(locks, key, { ...options, ...times }, waiting.signal);
    if (typeof lease === 'number') return lease;
    if (received !== undefined) {
      await lease.release();
      return STATUS.signal + constants.signals[received];
    }
    return await underLease(lease, { ...options, ...times }, command, (to) => {
      deliver = to;
    });
  } catch (error) {
    if (received !== undefined && waiting.signal.aborted && error === waiting.signal.reason) {
      return STATUS.signal + constants.signals[received];
    }
    throw error;
  } finally {
    for (const signal of PASSED_ON) process.off(signal, onSignal);
  }
}

async function acquired(
  locks: LockClient,
  key: string,
  { wait, once, atLeast, leaseMs, safetyMs }: Options & { readonly leaseMs: number; readonly safetyMs: number },
  signal: AbortSignal,
): Promise<Lease | number> {
  try {
    const times = { waitMs: wait, holdAtLeastMs: atLeast, leaseMs, safetyMs };
    return await locks.acquire(key, { ...times, ...(once !== undefined && { once }), signal });
  } catch (error) {
    if (error instanceof LockBusyError) {
      warn(`leasehold: ${error.message} The holder is ${error.owner ?? 'nobody: the lock is closed for a time'}.`);
      return STATUS.busy;
    }
    if (error instanceof LockTokenError) throw new UsageError(error.message);
    if (!(error instanceof LockDoneError)) throw error;
    warn(`leasehold: ${error.message}`);
    return STATUS.done;
  }
}

async function underLease(
  lease: Lease,
  { killAfter, leaseMs, safetyMs, once: token }: Options & Times,
  command: string[],
  deliverTo: (deliver: (signal: Signal) => void) => void,
): Promise<number> {
  // Without a terminal, the command leads a process group and a session. On a terminal that would take the terminal away from
  // the command.
  const isGroup = ![process.stdin, process.stdout, process.stderr].some(({ isTTY }) => isTTY);
  const marks = { LEASEHOLD_KEY: lease.key, LEASEHOLD_TOKEN: String(lease.fencingToken) };
  const processes = new CommandProcesses(isGroup, marks);
  let stopped: Signal | undefined;
  deliverTo((signal) => {
    if ((STOPPING as readonly Signal[]).includes(signal)) stopped ??= signal;
    processes.passOn(signal, !isGroup && OF_TERMINAL.includes(signal));
  });
  let killed: Promise<void> | undefined;
  const onLost = () => {
    warn(`leasehold: the lease of ${show(lease.key)} was lost: ending the command.`);
    processes.passOn('SIGTERM', false);
    // After a sleep of the host, the lock may be open already.
    const opensInMs = lease.deadline + safetyMs - reserveOf(leaseMs) - Date.now();
    killed = processes.killed(Math.min(killAfter, opensInMs));
  };
  // Before the start: a signal that halts this process alone would leave the command to work on.
  const going = stopTogether(lease, processes);
  let status: number;
  try {
    const env = { ...process.env, ...marks };
    const child = spawn(command[0] as string, command.slice(1), { stdio: 'inherit', detached: isGroup, env });
    processes.began(child.pid);
    lease.signal.addEventListener('abort', onLost);
    if (lease.signal.aborted) onLost();
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
    status = code ?? STATUS.signal + constants.signals[signal as NodeJS.Signals];
    // A command that ends by itself may leave something behind. One that was told to end must not.
    if (stopped !== undefined) await processes.ended();
    await killed;
  } catch (error) {
    return notStarted(lease, command, error);
  } finally {
    lease.signal.removeEventListener('abort', onLost);
    going();
  }
  return ended(lease, status, token === undefined ? undefined : stopped);
}

/**
 * Stops the command when this process is stopped, and continues both: a command whose lease is not renewed must not work on.
 * A command whose lease was lost meanwhile does not go on, not even to end in order: the lock may be somebody else's by now.
 * @returns a function that ends this.
 */
function stopTogether(lease: Lease, processes: CommandProcesses): () => void {
  const onStop = () => {
    processes.stop();
    process.kill(process.pid, 'SIGSTOP');
  };
  const onContinue = () => (lease.isHeld() ? processes.continue() : processes.kill());
  for (const signal of HALTING) process.on(signal, onStop);
  process.on('SIGCONT', onContinue);
  return () => {
    for (const signal of HALTING) process.off(signal, onStop);
    process.off('SIGCONT', onContinue);
  };
}

async function notStarted(lease: Lease, command: string[], error: unknown): Promise<number> {
  await lease.release();
  const { code, message } = error as NodeJS.ErrnoException;
  warn(`leasehold: ${show(command[0])} could not be started: ${message}`);
  return code === 'ENOENT' ? STATUS.notFound : STATUS.notExecutable;
}

/** @param stopped the signal that told a run for a `once` token to end. Nobody knows whether its work is done. */
async function ended(lease: Lease, status: number, stopped: Signal | undefined): Promise<number> {
  const wasHeld = lease.isHeld();
  const isReleased = await lease.release({ done: status === 0 && stopped === undefined });
  // A grant that an operator has ended since the last renewal is lost, and only the answer to the release tells so.
  if (!wasHeld || lease.signal.aborted) {
    warn(`leasehold: the command ended with ${status}, after the lease of ${show(lease.key)} had been lost.`);
    return STATUS.lost;
  }
  if (!isReleased) {
    warn(
      `leasehold: the release of ${show(lease.key)} is not confirmed: the lock opens at its expiry at the latest, and a once token may not be done.`,
    );
  }
  if (status !== 0 || stopped === undefined) return status;
  warn(`leasehold: the command was stopped by ${stopped}, so the once token of ${show(lease.key)} is not done.`);
  return STATUS.signal + constants.signals[stopped];
}
