/** The processes of a command: the command itself, and what it has started. None of them may work on without the lock. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { warn } from './terminal.ts';

/** One process of this host. */
export interface Process {
  readonly pid: number;
  /** The time of its start, as the system tells it. The number of a process that has ended is given to another. */
  readonly start: string;
  readonly parent: number;
  readonly group: number;
  /** Undefined where the system does not tell. */
  readonly session: number | undefined;
  readonly isStopped: boolean;
}

/** The time from a look at the processes to the next, in milliseconds. */
const LOOK_MS = 100;
/** The time after which processes that have not ended are told, in milliseconds. */
const TELL_MS = 2_000;
/** The most looks at processes that are sent a signal: each look may find one that another has just started. */
const MOST_LOOKS = 50;

export class CommandProcesses {
  /** The command's own process. Undefined before the command has started. */
  #leader: number | undefined;
  readonly #isGroup: boolean;
  readonly #marks: readonly string[];
  readonly #ofHost: () => Process[] | undefined;
  /** The processes to which a signal could not be sent, as those of another user. */
  readonly #refused = new Set<number>();
  /** The command's own process group. */
  #group: number | undefined;
  /** The processes that the last look has found, with the times of their starts. */
  #known = new Map<number, string>();
  /** The time at which the command's own process started. */
  #start: string | undefined;

  /**
   * @param isGroup true if the command leads a process group and a session. On a terminal, this process shares both with it.
   * @param marks variables that stand with these values in the environment of the command alone.
   * @param ofHost gives the processes of this host that have not ended. Undefined if the system does not tell.
   */
  constructor(isGroup: boolean, marks: Readonly<Record<string, string>>, ofHost = processesOfHost) {
    this.#isGroup = isGroup;
    this.#ofHost = ofHost;
    this.#marks = Object.entries(marks).map(([name, value]) => `\0${name}=${value}\0`);
  }

  /**
   * Learns the command's own process, which has just started.
   * @param leader undefined if the command could not be started: then there are no processes. A 0 would have every process of
   * the host below it.
   */
  began(leader: number | undefined): void {
    this.#leader = leader;
    if (leader === undefined) return;
    this.#start = this.#ofHost()?.find(({ pid }) => pid === leader)?.start ?? '';
    this.#known.set(leader, this.#start);
  }

  /**
   * Passes a signal on, once to each process at the most. The signal goes to the command's own process group, to the leader of
   * each further group, such as `timeout`, which passes it on, and to all members of a group whose leader has ended.
   * @param isFromTerminal true if the terminal has sent the signal to the command's own group already.
   */
  passOn(signal: NodeJS.Signals, isFromTerminal: boolean): void {
    const processes = this.#look();
    const leaders = new Set(processes.map(({ pid }) => pid));
    for (const { pid, group } of processes) {
      const isOwn = group === this.#group;
      if (isOwn ? !isFromTerminal : pid === group || !leaders.has(group)) this.#sendTo(pid, signal);
    }
  }

  /** Stops all, also those that these have just started. */
  stop(): void {
    this.#sendToAll('SIGSTOP', ({ isStopped }) => isStopped);
  }

  /** Lets all go on that were stopped. */
  continue(): void {
    for (const { pid } of this.#look()) this.#sendTo(pid, 'SIGCONT');
  }

  /** The numbers of the processes that have not ended. */
  left(): readonly number[] {
    return this.#look().map(({ pid }) => pid);
  }

  /** Waits until all have ended: a program that was told to end may need a time to end in order. */
  async ended(): Promise<void> {
    let isTold = false;
    for await (const { left, forMs } of this.#looks()) {
      if (isTold || forMs <= TELL_MS) continue;
      isTold = true;
      warn(`leasehold: the command has ended. Waiting for what it has started: ${left}.`);
    }
  }

  /** Kills all after a time, unless they end before, also those that these have just started. Another user's may live on. */
  async killed(afterMs: number): Promise<void> {
    for await (const { left, forMs } of this.#looks()) {
      if (forMs >= afterMs) this.kill();
      if (forMs <= afterMs + TELL_MS) continue;
      warn(`leasehold: processes of the command live on without the lock: ${left}.`);
      return;
    }
  }

  /** Kills all at once. */
  kill(): void {
    this.#sendToAll('SIGKILL', () => false);
  }

  /** Looks at the processes again and again, until none is left. */
  async *#looks(): AsyncGenerator<{ readonly left: string; readonly forMs: number }> {
    const began = performance.now();
    for (let left = this.left(); left.length > 0; left = this.left()) {
      yield { left: left.join(', '), forMs: performance.now() - began };
      await sleep(LOOK_MS);
    }
  }

  /** Sends a signal that nobody can handle, until a look finds no process that still has to heed it. */
  #sendToAll(signal: NodeJS.Signals, heeds: (process: Process) => boolean): void {
    for (let looks = 0; looks < MOST_LOOKS; looks++) {
      const others = this.#look().filter((one) => !heeds(one) && !this.#refused.has(one.pid));
      if (others.length === 0) return;
      for (const { pid } of others) this.#sendTo(pid, signal);
    }
  }

  /**
   * Looks for the command's processes:
   *
   * 1. The known ones, and each whose parent is known.
   * 2. Without a terminal: each in the command's session. A daemon leaves the session, and is nobody's.
   * 3. On a terminal, where this process and the shell share the session: each in the session with the command's environment.
   */
  #look(): readonly Process[] {
    const all = this.#leader === undefined ? [] : this.#ofHost();
    if (all === undefined) return this.#known.size > 0 ? this.#lookWithoutTable() : [];
    const own = all.find(({ pid }) => pid === process.pid);
    this.#group = this.#isGroup ? this.#leader : own?.group;
    // If another process has the command's number by now, so may have a session that is not the command's.
    const isReused = all.some(({ pid, start }) => pid === this.#leader && start !== this.#start);
    const ofGroup = isReused ? undefined : this.#leader;
    const session = this.#isGroup ? ofGroup : own?.session;
    const isOfSession = (one: Process) => session !== undefined && one.session === session && one.pid !== process.pid;
    const isOurs = (one: Process) =>
      this.#known.get(one.pid) === one.start || (isOfSession(one) && (this.#isGroup || this.#isMarked(one.pid)));
    const found = new Set(all.filter(isOurs).map(({ pid }) => pid));
    for (let size = -1; size < found.size; ) {
      size = found.size;
      for (const { pid, parent } of all) if (found.has(parent)) found.add(pid);
    }
    const alive = all.filter(({ pid }) => found.has(pid));
    this.#known = new Map(alive.map(({ pid, start }) => [pid, start]));
    return alive;
  }

  /** The command itself is all that is known on a system that tells of no processes. */
  #lookWithoutTable(): readonly Process[] {
    const pid = this.#leader as number;
    try {
      process.kill(pid, 0);
    } catch {
      this.#known.clear();
      return [];
    }
    return [{ pid, start: '', parent: 0, group: pid, session: undefined, isStopped: true }];
  }

  #sendTo(pid: number, signal: NodeJS.Signals): void {
    try {
      process.kill(pid, signal);
    } catch (error) {
      // The process has ended already.
      if ((error as NodeJS.ErrnoException).code === 'ESRCH' || this.#refused.has(pid)) return;
      this.#refused.add(pid);
      warn(`leasehold: ${signal} could not be sent to the process ${pid}: ${(error as Error).message}`);
    }
  }

  #isMarked(pid: number): boolean {
    try {
      const variables = `\0${readFileSync(`/proc/${pid}/environ`, 'utf8')}`;
      return this.#marks.every((mark) => variables.includes(mark));
    } catch {
      // The process has ended, or is somebody else's.
      return false;
    }
  }
}

function processesOfHost(): Process[] | undefined {
  try {
    return process.platform === 'linux' ? byProc() : byPs();
  } catch {
    return undefined;
  }
}

function byProc(): Process[] {
  const processes: Process[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      // The name of the program stands in parentheses, and may hold some itself.
      const [, fields = ''] = /^.*\) (.*)$/s.exec(readFileSync(`/proc/${name}/stat`, 'utf8')) ?? [];
      const [state = '', ...others] = fields.split(' ');
      const [parent = 0, group = 0, session = 0] = others.slice(0, 3).map(Number);
      const isStopped = 'Tt'.includes(state);
      // The 22nd field of the file is the start. The second is the name.
      const start = others[18] ?? '';
      if (!'ZXx'.includes(state)) processes.push({ pid: Number(name), start, parent, group, session, isStopped });
    } catch {
      // The process has ended meanwhile.
    }
  }
  return processes;
}

function byPs(): Process[] {
  const fields = 'pid=,ppid=,pgid=,stat=,lstart=';
  const lines = execFileSync('ps', ['-A', '-o', fields], { encoding: 'utf8' }).trim().split('\n');
  return lines.flatMap((line) => {
    const [pid = '', parent = '', group = '', state = '', ...start] = line.trim().split(/\s+/);
    if (state.startsWith('Z')) return [];
    const ids = { pid: Number(pid), parent: Number(parent), group: Number(group) };
    // A group stands for the session, which BSD's ps does not tell by its number.
    return [{ ...ids, session: ids.group, start: start.join(' '), isStopped: state.startsWith('T') }];
  });
}
