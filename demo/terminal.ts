import { styleText } from 'node:util';
import { tasks } from '../lambda/tasks.ts';
import { busyTriesOf, type Entry, type Run, runsOf, startOf, taskOf } from './record.ts';

type Style = Exclude<Parameters<typeof styleText>[0], readonly unknown[]>;

/** Colours a text for a terminal, and leaves it plain elsewhere. */
export const paint = (style: Style | Style[], text: string): string =>
  styleText(style, text, { stream: process.stdout });

const LAMBDA_STYLES: Style[] = ['blueBright', 'yellow', 'green', 'magenta', 'cyan', 'redBright'];
const styleOf = (lambda: number): Style => LAMBDA_STYLES[(lambda - 1) % LAMBDA_STYLES.length] ?? 'white';
const named = (lambda: number): string => paint(styleOf(lambda), `Lambda ${lambda}`);

const seconds = (ms: number): string => `${(Math.max(0, ms) / 1000).toFixed(2).padStart(5)} s`;

/** Puts an entry into words, if it is worth a line. */
function tell(entry: Entry, entries: readonly Entry[]): string | undefined {
  const who = named(entry.lambda);
  switch (entry.type) {
    case 'acquired': {
      if (!entry.takenOverFrom) return `${who} begins ${taskOf(entry.key)}`;
      const from = runsOf(entries).find((run) => run.fencingToken === entry.fencingToken)?.takenOverFrom ?? 0;
      return `${who} takes over ${taskOf(entry.key)}: the lease of ${named(from)} has expired`;
    }
    case 'released':
      return entry.done ? `${who} has done ${taskOf(entry.key)}` : undefined;
    case 'lost':
      return `${who} stops ${taskOf(entry.key)}: isHeld() is false, ${entry.reason}`;
    case 'killed':
      return `${who} ${paint('red', 'is killed')} in mid-task (SIGKILL)`;
    case 'frozen':
      return `${who} ${paint('cyan', 'is frozen')} in mid-task (SIGSTOP)`;
    case 'thawed':
      return `${who} ${paint('cyan', 'is thawed')} (SIGCONT), while another Lambda runs its task`;
    default:
      return undefined;
  }
}

/** Shows the demo while it runs: on a terminal a board that is drawn over and over, elsewhere a line for each entry. */
export class Progress {
  readonly #startedAt = Date.now();
  readonly #told: string[] = [];
  #drawnLines = 0;

  show(added: readonly Entry[], entries: readonly Entry[]): void {
    for (const entry of added) {
      const line = tell(entry, entries);
      if (line === undefined) continue;
      const timed = `${seconds(entry.at - this.#startedAt)}  ${line}`;
      this.#told.push(timed);
      if (!process.stdout.isTTY) console.log(timed);
    }
    if (process.stdout.isTTY) this.#draw(entries);
  }

  #draw(entries: readonly Entry[]): void {
    const runs = runsOf(entries);
    const tried = busyTriesOf(entries);
    const lambdas = [...new Set(entries.map((entry) => entry.lambda))].sort();
    const done = runs.filter((run) => run.end === 'done').length;
    const lines = [
      `${meter(done, tasks.length, 48)} ${done} of ${tasks.length} tasks done, ${seconds(Date.now() - this.#startedAt)}`,
      ...lambdas.map((lambda) => {
        const stepped = tried.filter((busy) => busy.lambda === lambda).length;
        return `${named(lambda)}  ${stateOf(lambda, entries, runs).padEnd(44)} met busy ${String(stepped).padStart(2)} times`;
      }),
      '',
      ...this.#told.slice(-6),
    ];
    const up = this.#drawnLines > 0 ? `\x1b[${this.#drawnLines}A` : '';
    process.stdout.write(`${up}\x1b[0J${lines.join('\n')}\n`);
    this.#drawnLines = lines.length;
  }
}

function stateOf(lambda: number, entries: readonly Entry[], runs: readonly Run[]): string {
  const last = entries.findLast(
    (entry) => entry.lambda === lambda && ['killed', 'frozen', 'thawed', 'responded'].includes(entry.type),
  )?.type;
  if (last === 'killed' || last === 'frozen') return last;
  const run = runs.findLast((run) => run.lambda === lambda && run.end === 'unfinished');
  if (last === 'responded' || run === undefined)
    return last === 'responded' ? 'has responded' : 'looks for a free task';
  return `${meter(run.stepsAt.length, run.steps, 20)} ${run.task}`;
}

const meter = (value: number, of: number, width: number): string => {
  const filled = of > 0 ? Math.round((value / of) * width) : 0;
  return '█'.repeat(filled) + '░'.repeat(width - filled);
};

/** Makes a table of the tasks: the Lambda that ran each task, the busy tries, the fencing token, and the Lambda before it. */
export function table(runs: readonly Run[], entries: readonly Entry[]): string {
  const busy = busyTriesOf(entries);
  const row = (cells: readonly string[]) => cells.map((cell, index) => cell.padEnd(COLUMNS[index] ?? 0)).join('  ');
  const rows = tasks.map(({ name }) => {
    const own = runs.filter((run) => run.task === name);
    const last = own.findLast((run) => run.end === 'done') ?? own.at(-1);
    const from = own.findLast((run) => run.lambda === last?.takenOverFrom && run !== last);
    return row([
      name,
      last?.end === 'done' ? `Lambda ${last.lambda}` : 'not done',
      String(busy.filter(({ task }) => task === name).length).padStart(8),
      String(last?.fencingToken ?? ''),
      from ? `Lambda ${from.lambda} (${fateOf(from, entries)})` : '',
    ]);
  });
  return [paint('bold', row(['task', 'run by', 'met busy', 'fencing token', 'taken over from'])), ...rows].join('\n');
}
const COLUMNS = [10, 8, 8, 13, 0];

function fateOf(run: Run, entries: readonly Entry[]): string {
  const struck = entries.find(
    ({ type, lambda, at }) =>
      (type === 'killed' || type === 'frozen') &&
      lambda === run.lambda &&
      at >= run.grantedAt &&
      at <= run.believedUntil,
  );
  return struck?.type ?? run.end;
}

/** Draws a line for each task and a column for each slice of time, with the Lambda that ran the task then. */
export function chart(runs: readonly Run[], entries: readonly Entry[], width = chartWidth()): string {
  const startedAt = startOf(entries);
  const endedAt = Math.max(...runs.map((run) => run.believedUntil));
  const column = (at: number) => Math.min(width - 1, Math.floor(((at - startedAt) / (endedAt - startedAt)) * width));
  const lines = tasks.map(({ name }) => {
    let line = '';
    let drawn = 0;
    for (const run of runs.filter((run) => run.task === name)) {
      // A column may hold the end of one run and the beginning of the next.
      const from = Math.max(drawn, column(run.grantedAt));
      const to = Math.max(from, column(run.believedUntil) + 1);
      line += paint('dim', '·'.repeat(from - drawn)) + drawnRun(run, to - from);
      drawn = to;
    }
    return `${name.padEnd(COLUMNS[0] ?? 0)}  ${line}${paint('dim', '·'.repeat(width - drawn))}`;
  });
  const axis = `${' '.repeat(12)}0 s${`${((endedAt - startedAt) / 1000).toFixed(1)} s`.padStart(width - 3)}`;
  const legend = [
    '1 to 6: the Lambda that did the task      ╱: a run that was lost',
    '✕: its Lambda was killed                  !: the deadline of its Lambda, which was frozen',
  ];
  return [...lines, axis, ...legend.map((line) => paint('dim', line))].join('\n');
}

function drawnRun({ end, lambda }: Run, width: number): string {
  const style = styleOf(lambda);
  if (end === 'done') return paint([style, 'inverse'], String(lambda).repeat(width));
  const last = paint('red', end === 'killed' ? '✕' : '!');
  return width === 0 ? '' : paint(style, '╱'.repeat(width - 1)) + last;
}

const chartWidth = (): number => Math.min(108, Math.max(40, (process.stdout.columns ?? 98) - 14));
