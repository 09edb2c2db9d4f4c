// Every interleaving of a few processes that run the code of lib/file over a folder in memory.
//
// A process is the code itself: to find its next call, the explorer runs the code anew with the results of the calls so far.
// A call that others cannot see takes no step of its own. A state that was seen is not visited again. A process that is killed
// is a process that takes no further step, so each state stands for kills, too.

import type { Files } from '../../lib/file/files.ts';
import { pruneOne } from '../../lib/file/prune.ts';
import { load, swap } from '../../lib/file/versions.ts';
import {
  type Call,
  type Exploration,
  Fault,
  FOLDER,
  type Folder,
  FRESH,
  highestOf,
  idle,
  type Next,
  OLD,
  ownValue,
  type Process,
  Rules,
  type State,
  textOf,
} from './rules.ts';

export class Explorer {
  readonly #exploration: Exploration;
  readonly #rules: Rules;
  readonly #next = new Map<string, Next>();
  readonly #numbers = new Map<string, number>();
  /** The folders that were seen. */
  readonly folders = new Map<string, Folder>();
  readonly #seen = new Set<string>();

  constructor(exploration: Exploration) {
    this.#exploration = exploration;
    this.#rules = new Rules(exploration);
  }

  /** @returns the first fault, with the steps that lead to the fault. Undefined if no interleaving has a fault. */
  async run(): Promise<string | undefined> {
    const stack: Visited[] = [{ state: this.#first(), path: undefined }];
    for (let visited = stack.pop(); visited !== undefined; visited = stack.pop()) {
      for (const [index, { left }] of visited.state.processes.entries()) {
        const fault = left > 0 && (await this.#step(visited, index, stack));
        if (fault) return fault;
      }
    }
    return undefined;
  }

  /** The number of states that were seen. */
  get states(): number {
    return this.#seen.size;
  }

  /** Makes the next call of a process, and pushes the new states that may follow. @returns a fault. */
  async #step({ state, path }: Visited, index: number, stack: Visited[]): Promise<string | undefined> {
    const call = (await this.#nextOf(state, index)) as Call;
    try {
      for (const after of this.#rules.apply(state, index, call)) {
        const settled = trimmed(await this.#settle(after, index));
        const id = this.#idOf(settled);
        if (this.#seen.has(id)) continue;
        this.#seen.add(id);
        stack.push({ state: settled, path: stepOf(path, index, call, after) });
      }
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      return `${error.message}\n${linesOf(stepOf(path, index, call))}`;
    }
    return undefined;
  }

  #first(): State {
    const { processes, lost = 0, folder } = this.#exploration;
    const begin = (writes: number | 'prune'): Process =>
      writes === 'prune' ? { ...idle, phase: 'prune', left: 1 } : { ...idle, left: writes };
    const standing = folder?.[highestOf(folder)];
    const history = standing === undefined ? [] : [standing];
    return { folder, clock: 1_000, lost, processes: processes.map(begin), history };
  }

  /** A short text that tells a state from every other. */
  #idOf({ folder, clock, lost, processes, history }: State): string {
    const text = JSON.stringify(folder) ?? '';
    this.folders.set(text, folder);
    const parts = [text, history.join(), ...processes.map((process) => JSON.stringify(process))];
    return `${clock} ${lost} ${parts.map((part) => this.#numberOf(part)).join(' ')}`;
  }

  #numberOf(part: string): number {
    const number = this.#numbers.get(part) ?? this.#numbers.size;
    this.#numbers.set(part, number);
    return number;
  }

  /** The next call of a process, or the result of its phase. */
  async #nextOf({ processes }: State, index: number): Promise<Next> {
    const { phase, log, seen, left } = processes[index]!;
    const key = JSON.stringify([index, phase, log, phase === 'swap' && [seen?.version, left]]);
    let next = this.#next.get(key);
    if (next === undefined) {
      next = await replay(log, (files) => {
        if (phase === 'load') return load(files, FOLDER, undefined);
        if (phase === 'prune') return pruneOne(files, 'locks', 'k', OLD, undefined);
        const place = { folder: FOLDER, fresh: FRESH };
        return swap(files, place, textOf(ownValue(index, left)), seen?.version, () => true);
      });
      this.#next.set(key, next);
    }
    return next;
  }

  /** Runs a process on to its next call that others can see. */
  async #settle(from: State, index: number): Promise<State> {
    let state = from;
    for (;;) {
      const process = state.processes[index]!;
      if (process.left === 0) return state;
      const next = await this.#nextOf(state, index);
      if ('result' in next) state = this.#rules.end(state, index, next.result);
      else if (this.#isPrivate(process, next)) state = this.#rules.apply(state, index, next)[0]!;
      else return state;
    }
  }

  #isPrivate({ phase, log }: Process, { name, path }: Call): boolean {
    const { mutant } = this.#exploration;
    if (name === 'write' || name === 'keep' || name === 'isLinked') return true;
    if (name === 'remove' || name === 'removeFolder') return path.startsWith(FRESH);
    if (name !== 'list') return false;
    return mutant === 'no second list' && phase === 'load' && log.length > 0;
  }
}

/**
 * Forgets what no later step looks at:
 *
 * - the part of the history before every reading and write that is under way,
 * - the calls of a reading before its last list: the reading has begun again with this list, or ends with this list.
 */
function trimmed(state: State): State {
  const { history } = state;
  const begun = state.processes.filter(({ left, phase, log }) => left > 0 && (phase === 'swap' || log.length > 0));
  const cut = Math.max(0, Math.min(history.length - 2, ...begun.map(({ since }) => since - 1)));
  const processes = state.processes.map((process): Process => {
    const { phase, left, log, since } = process;
    if (left === 0 || (phase === 'load' && log.length === 0)) return { ...process, since: 0 };
    const kept = phase === 'load' && Array.isArray(log.at(-1)) ? log.slice(-1) : log;
    return { ...process, log: kept, since: Math.max(0, since - cut) };
  });
  return { ...state, processes, history: history.slice(cut) };
}

/** Runs an operation with the results of its calls so far. Gives its next call, or its result. */
function replay(log: readonly unknown[], operation: (files: Files) => Promise<unknown>): Promise<Next> {
  return new Promise((resolve, reject) => {
    let calls = 0;
    const files = new Proxy({} as Files, {
      get:
        (_, name) =>
        (path: string, target = '') => {
          const at = calls++;
          const result = log[at] ?? undefined;
          if (at < log.length) return Promise.resolve(name === 'read' && result ? textOf(result as string) : result);
          resolve({ name: name as keyof Files, path, target });
          return new Promise(() => {});
        },
    });
    operation(files).then((result) => resolve({ result }), reject);
  });
}

interface Visited {
  readonly state: State;
  /** The steps that lead to the state. */
  readonly path: Path;
}

type Path = { readonly before: Path; readonly text: string } | undefined;
const linesOf = (path: Path): string => (path === undefined ? '' : `${linesOf(path.before)}${path.text}\n`);
const stepOf = (before: Path, index: number, { name, path, target }: Call, after?: State): Path => ({
  before,
  text: `${index}: ${name} ${target || path} ${JSON.stringify(after?.processes[index]?.log.at(-1)) ?? ''}`,
});
