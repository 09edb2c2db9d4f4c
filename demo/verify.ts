/**
 * Judges a record: was every task done, once, and did no two runs of a task overlap?
 *
 * `node demo/verify.ts <folder>` judges a record that was kept, and exits with 1 if it finds a fault.
 */
import { tasks } from '../lambda/tasks.ts';
import { type Entry, RecordReader, type Run, runsOf } from './record.ts';

export interface Verdict {
  readonly runs: readonly Run[];
  /** The faults, a sentence each. Empty for a record without fault. */
  readonly findings: readonly string[];
  /** The shortest time, in milliseconds, from the end of one run to the next grant of the same task. */
  readonly shortestGapMs: number;
}

export function verify(entries: readonly Entry[], taskNames: readonly string[]): Verdict {
  const runs = runsOf(entries);
  const byTask = taskNames.map((task) => ({ task, runs: runs.filter((run) => run.task === task) }));
  const pairs = byTask.flatMap(({ runs }) => pairsOf(runs));
  const findings = [
    ...byTask.flatMap(({ task, runs }) => notDoneOnce(task, runs)),
    ...pairs.flatMap(overlap),
    ...pairs.flatMap(tokenThatDoesNotGrow),
    ...runs.flatMap(workWithoutBelief),
    ...entries.flatMap((entry) => withoutConsequence(entry, runs)),
  ];
  const gaps = pairs.map(([earlier, later]) => later.grantedAt - earlier.believedUntil);
  return { runs, findings, shortestGapMs: Math.min(...gaps) };
}

/** Pairs each run of a task with each later run: of three runs, the first can outlast the second and overlap the third. */
const pairsOf = (runs: readonly Run[]): [Run, Run][] =>
  runs.flatMap((later, index) => runs.slice(0, index).map((earlier): [Run, Run] => [earlier, later]));

function notDoneOnce(task: string, runs: readonly Run[]): string[] {
  const times = runs.filter((run) => run.end === 'done').length;
  if (times === 1) return [];
  return [times === 0 ? `The task ${task} was not done.` : `The task ${task} was done ${times} times.`];
}

function overlap([earlier, later]: [Run, Run]): string[] {
  const ms = earlier.believedUntil - later.grantedAt;
  if (ms <= 0) return [];
  return [`${named(later)} began ${ms} ms before Lambda ${earlier.lambda} had ended its own.`];
}

function tokenThatDoesNotGrow([earlier, later]: [Run, Run]): string[] {
  if (later.fencingToken > earlier.fencingToken) return [];
  return [`${named(later)} has the fencing token ${later.fencingToken}, and an earlier run ${earlier.fencingToken}.`];
}

function workWithoutBelief(run: Run): string[] {
  const beyond = run.stepsAt.filter((at) => at < run.grantedAt || at > run.believedUntil);
  return beyond.length === 0 ? [] : [`${named(run)} has ${beyond.length} steps outside of the time of its lease.`];
}

/** Finds a kill or a freeze without its consequence: the run must have ended there, and another Lambda must have taken over. */
function withoutConsequence({ type, lambda, at }: Entry, runs: readonly Run[]): string[] {
  if (type !== 'killed' && type !== 'frozen') return [];
  const end = type === 'killed' ? 'killed' : 'lost';
  const cut = runs.find((run) => run.lambda === lambda && run.grantedAt <= at && run.believedUntil >= at);
  if (cut?.end !== end) return [`Lambda ${lambda} was ${type}, but no run of its own is ${end}.`];
  const takenOver = runs.some((run) => run.task === cut.task && run.takenOverFrom === lambda);
  return takenOver ? [] : [`Lambda ${lambda} was ${type} in the middle of ${cut.task}, but nobody took that over.`];
}

const named = ({ task, lambda }: Run): string => `The run of ${task} by Lambda ${lambda}`;

if (import.meta.main) {
  const [folder] = process.argv.slice(2);
  if (folder === undefined) throw new Error('Expected the folder of a record: node demo/verify.ts <folder>');
  const { findings } = verify(
    new RecordReader(folder).poll(),
    tasks.map(({ name }) => name),
  );
  for (const finding of findings) console.error(finding);
  if (findings.length > 0) process.exitCode = 1;
}
