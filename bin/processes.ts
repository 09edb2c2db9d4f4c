/** The processes of a command: the command itself, and what it has started. None of them may work on without the lock. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { warn } from './terminal.ts';

/** One process of this host. */
interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
  /** Undefined where the system does not tell. */
  readonly session: number | undefined;
}

/** The signals that no process can handle. */
const UNHANDLED: readonly NodeJS.Signals[] = ['SIGKILL', 'SIGSTOP', 'SIGCONT'];

/** The time from a look at the processes to the next, in milliseconds. */
const LOOK_MS = 100;
/** The time after which processes that have not ended are told, in milliseconds. */
const TELL_MS = 2_000;

export class CommandProcesses {
  readonly #leader: number | undefined;
  readonly #isGroup: boolean;
  readonly #marks: readonly string[];
  /** The processes to which a signal could not be sent, as those of another user. */
  readonly #refused = new Set<number>();
  /** The command's own process group. */
  #group: number | undefined;
  /** The processes that the last look has found. */
  #known: readonly number[];

  /**
   * @param leader the command's own process. Undefined if the command could not be started: then there are no processes. A 0 would
   * have every process of the host below it.
   * @param isGroup true if the command leads a process group and a session. On a terminal, this process shares both with it.
   * @param marks variables that stand with these values in the environment of the command alone.
   */
  constructor(leader: number | undefined, isGroup: boolean, marks: Readonly<Record<string, string>>) {
    this.#leader = leader;
    this.#isGroup = isGroup;
    this.#marks = Object.entries(marks).map(([name, value]) => `\0${name}=${value}\0`);
    this.#known = leader === undefined ? [] : [leader];
  }

  /**
   * Sends a signal. A signal that nobody can handle goes to every process. Any other signal goes to the command's own process
   * group, and to the leader of each further group, such as `timeout`, which passes it on.
   */
  send(signal: NodeJS.Signals): void {
    const toAll = UNHANDLED.includes(signal);
    for (const { pid, group } of this.#look()) {
      if (toAll || group === this.#group || pid === group) this.#sendTo(pid, signal);
    }
  }

  /** The numbers of the processes that have not ended. */
  left(): readonly number[] {
    this.#look();
    return this.#known;
  }

  /** Waits until all have ended: a program that was told to end may need a time to end in order. */
  async ended(): Promise<void> {
    let isTold = false;
    for await (const { left, isLong } of this.#looks()) {
      if (!isLong || isTold) continue;
      isTold = true;
      warn(`leasehold: the command has ended. Waiting for what it has started: ${left}.`);
    }
  }

  /** Kills all, also those that these have just started. Another user's processes may live on. */
  async killed(): Promise<void> {
    for await (const { left, isLong } of this.#looks()) {
      this.send('SIGKILL');
      if (!isLong) continue;
      warn(`leasehold: processes of the command live on without the lock: ${left}.`);
      return;
    }
  }

  /** Looks at the processes again and again, until none is left. */
  async *#looks(): AsyncGenerator<{ readonly left: string; readonly isLong: boolean }> {
    const began = performance.now();
    for (let left = this.left(); left.length > 0; left = this.left()) {
      yield { left: left.join(', '), isLong: performance.now() - began > TELL_MS };
      await sleep(LOOK_MS);
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
    const all = processesOfHost();
    if (all === undefined) {
      this.#known = this.#known.filter(isAlive);
      return this.#known.map((pid) => ({ pid, parent: 0, group: pid, session: undefined }));
    }
    const own = all.find(({ pid }) => pid === process.pid);
    const session = this.#isGroup ? this.#leader : own?.session;
    this.#group = this.#isGroup ? this.#leader : own?.group;
    const found = new Set(this.#known);
    for (const one of all) {
      if (session === undefined || one.session !== session || one.pid === process.pid) continue;
      if (this.#isGroup || this.#isMarked(one.pid)) found.add(one.pid);
    }
    for (let size = 0; size < found.size; ) {
      size = found.size;
      for (const { pid, parent } of all) if (found.has(parent)) found.add(pid);
    }
    const alive = all.filter(({ pid }) => found.has(pid));
    this.#known = alive.map(({ pid }) => pid);
    return alive;
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

/** The processes of this host that have not ended, but for zombies. Undefined if the system does not tell. */
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
      const [state = '', ...numbers] = fields.split(' ');
      const [parent = 0, group = 0, session = 0] = numbers.slice(0, 3).map(Number);
      if (!'ZXx'.includes(state)) processes.push({ pid: Number(name), parent, group, session });
    } catch {
      // The process has ended meanwhile.
    }
  }
  return processes;
}

function byPs(): Process[] {
  const lines = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,pgid=,stat='], { encoding: 'utf8' }).trim().split('\n');
  return lines.flatMap((line) => {
    const [pid = 0, parent = 0, group = 0] = line.trim().split(/\s+/).map(Number);
    // A group stands for the session, which BSD's ps does not tell by its number.
    return /Z/.test(line) ? [] : [{ pid, parent, group, session: group }];
  });
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
