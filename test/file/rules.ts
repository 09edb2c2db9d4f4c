// The steps of the processes that test/file/explorer.ts runs, and the checks of each step.

import type { Files } from '../../lib/file/files.ts';
import { fileOf, type Outcome, type Standing } from '../../lib/file/versions.ts';
import { encode } from '../../lib/swap/entry.ts';

export type Mutant =
  | 'no second list'
  | 'no list after a link'
  | 'no look at the links'
  | 'first versions by link'
  | 'prunes young versions';

export interface Exploration {
  /** For each process the number of its writes, or `prune`. */
  readonly processes: readonly (number | 'prune')[];
  /** True if a process replaces what it wrote last, unread. */
  readonly remembers?: boolean;
  /** The number of answers to an applied link or move that are lost. The client sends such a call again by itself. */
  readonly lost?: number;
  /** A fault of the algorithm, which the explorer must find. */
  readonly mutant?: Mutant;
  /** The folder at the start. */
  readonly folder?: Folder;
}

/** The versions of the key's folder, with their values. Undefined if there is no folder. */
export type Folder = Readonly<Record<number, string>> | undefined;
export type Call = { readonly name: keyof Files; readonly path: string; readonly target: string };
export type Next = Call | { readonly result: unknown };

export interface Process {
  readonly left: number;
  readonly phase: 'load' | 'swap' | 'prune';
  /** The results of the calls of this phase. */
  readonly log: readonly unknown[];
  /** The version and the value that the process read last, or wrote last. */
  readonly seen: { readonly version: number; readonly value: string } | undefined;
  /** True if the file of this phase has its second name. */
  readonly linked: boolean;
  /** The length of the history when the process began to read. */
  readonly since: number;
}

export interface State {
  readonly folder: Folder;
  readonly clock: number;
  readonly lost: number;
  readonly processes: readonly Process[];
  /** The values that stood, in order. After a prune NONE. */
  readonly history: readonly string[];
}

export const FOLDER = 'locks/k';
export const FRESH = 'locks/~new/f';
const NONE = '-';
export const OLD = 0;
const YOUNG = 1e15;

export const textOf = (writeId: string): string =>
  encode({ writeId, record: { key: 'k', fencingToken: 1, expiresAt: 0, acquiredAt: 0, leaseMs: 1 } });
const valueIn = (text: string): string => JSON.parse(text).writeId;
const versionsIn = (folder: Folder): number[] => Object.keys(folder ?? {}).map(Number);
export const highestOf = (folder: Folder): number => Math.max(0, ...versionsIn(folder));

/** A folder in memory, under the calls of a few processes. */
export class Rules {
  readonly #exploration: Exploration;

  constructor(exploration: Exploration) {
    this.#exploration = exploration;
  }

  /** Makes a call. Gives the states that may follow. */
  apply(state: State, index: number, call: Call): State[] {
    const process = state.processes[index]!;
    const { folder } = state;
    const begun = process.phase === 'load' && process.log.length === 0 ? { since: state.history.length } : {};
    const then = (result: unknown, rest: Partial<State> = {}, more: Partial<Process> = {}): State => {
      const log = [...process.log, result ?? null];
      return { ...state, ...rest, processes: state.processes.with(index, { ...process, ...begun, ...more, log }) };
    };
    const version = Number(call.path.split('/')[2]);
    switch (call.name) {
      case 'list':
        return [then(this.#list(process, folder))];
      case 'read':
        return [then(folder?.[version])];
      case 'write':
        return [then(0)];
      case 'makeFolder':
        return [then(state.clock, { clock: state.clock + 100 })];
      case 'link':
      case 'move':
        return this.#place(state, index, call, then);
      case 'isLinked':
        return [then(this.#exploration.mutant !== 'no look at the links' && process.linked)];
      case 'timeOf':
        return [then(this.#isOld(state, index) ? OLD : YOUNG)];
      case 'remove': {
        if (call.path.startsWith(FRESH)) return [then(null)];
        const { [version]: removed, ...rest } = folder ?? {};
        const isPruned = removed !== undefined && version === highestOf(folder);
        const history = isPruned ? [...state.history, NONE] : state.history;
        return [then(null, { folder: folder && rest, history })];
      }
      case 'removeFolder':
        return [then(null, !call.path.startsWith(FRESH) && highestOf(folder) === 0 ? { folder: undefined } : {})];
      default:
        return [then(null)];
    }
  }

  #list(process: Process, folder: Folder): string[] | undefined {
    const { mutant } = this.#exploration;
    if (mutant === 'no second list' && process.phase === 'load' && process.log.length > 0)
      return process.log[0] as string[];
    if (mutant === 'no list after a link' && process.phase === 'swap') {
      return versionsIn(folder)
        .filter((version) => version <= versionOf(process))
        .map(fileOf);
    }
    // A reading looks at the highest version alone.
    const names = folder && versionsIn(folder).map(fileOf);
    return process.phase === 'load' ? names?.slice(-1) : names;
  }

  /** A link of a file, or a move of a folder: the two calls that may put a version in its place. */
  #place(
    state: State,
    index: number,
    { name }: Call,
    then: (result: unknown, rest?: Partial<State>, more?: Partial<Process>) => State,
  ): State[] {
    const { folder, history, lost } = state;
    const process = state.processes[index]!;
    const version = versionOf(process);
    const isMove = name === 'move';
    if (!isMove && folder === undefined) return [then('gone')];
    const isTaken =
      isMove && this.#exploration.mutant !== 'first versions by link'
        ? highestOf(folder) > 0
        : folder?.[version] !== undefined;
    if (isTaken) return [then('exists')];
    const value = ownValue(index, process.left);
    const stands = version > highestOf(folder);
    if (stands) checkReplaces(history, isMove ? NONE : (process.seen?.value ?? NONE), value);
    const rest = { folder: { ...folder, [version]: value }, history: stands ? [...history, value] : history };
    const applied = then('done', rest, { linked: true });
    if (lost === 0) return [applied];
    return [applied, then(isMove ? 'gone' : 'exists', { ...rest, lost: lost - 1 }, { linked: true })];
  }

  /** Tells whether a version stood before each write began that is under way: a prune leaves younger versions alone. */
  #isOld({ processes, history }: State, pruner: number): boolean {
    if (this.#exploration.mutant === 'prunes young versions') return true;
    return processes.every(
      ({ left, phase, log, since }, index) =>
        index === pruner || left === 0 || (phase === 'load' && log.length === 0) || since >= history.length,
    );
  }

  /** Ends a phase of a process, and checks its result. */
  end(state: State, index: number, result: unknown): State {
    const process = state.processes[index]!;
    const to = (next: Partial<Process>): State => ({
      ...state,
      processes: state.processes.with(index, { ...process, log: [], linked: false, ...next }),
    });
    if (process.phase === 'prune') return to({ left: 0 });
    if (process.phase === 'load') {
      const standing = result as Standing | undefined;
      const value = standing && valueIn(standing.text);
      checkStood(state.history, process.since, value);
      return to({ phase: 'swap', seen: standing && { version: standing.version, value: value as string } });
    }
    const value = ownValue(index, process.left);
    const { version, maybeApplied = false } = result as Outcome;
    const stood = state.history.includes(value);
    if (version !== undefined && !stood) throw new Fault(`${index} believes that ${value} stood, which never stood`);
    if (version === undefined && stood && !maybeApplied) throw new Fault(`${index} calls ${value} missed, which stood`);
    const left = process.left - 1;
    if (left === 0) return to({ ...idle, left });
    const remembers = this.#exploration.remembers && version !== undefined;
    return to(
      remembers
        ? { left, phase: 'swap', seen: { version, value }, since: state.history.indexOf(value) + 1 }
        : { ...idle, left },
    );
  }
}

export const idle: Process = { left: 0, phase: 'load', log: [], seen: undefined, linked: false, since: 0 };
export class Fault extends Error {}

export const ownValue = (index: number, left: number): string => `${index}.${left}`;
/** The version that a process writes: the one after the version it read, or the time at which it made its folder. */
const versionOf = ({ seen, log }: Process): number => (seen === undefined ? (log[0] as number) : seen.version + 1);

/** A write must replace the value it went by, and no other. A prune deletes a value without a trace. */
function checkReplaces(history: readonly string[], base: string, value: string): void {
  const standing = history.at(-1) ?? NONE;
  if (standing === base || (standing === NONE && history.at(-2) === base)) return;
  throw new Fault(`${value} replaces ${standing}, and its writer went by ${base}`);
}

/** A reading must show a value that stood at a moment of the reading. */
function checkStood(history: readonly string[], since: number, value = NONE): void {
  const stood = [history[since - 1] ?? NONE, ...history.slice(since)];
  if (!stood.includes(value)) throw new Fault(`a reading shows ${value}, and meanwhile there stood ${stood}`);
}
