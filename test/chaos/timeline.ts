/** Draws a slice of a history as text: a row for each process, a column for each moment, and every line below. */
import type { Finding } from './checker.ts';
import type { Entry } from './history.ts';

const COLUMNS = 100;
const MARGIN_MS = 100;
/** The most lines below the picture. */
const MOST_LINES = 80;

/** The mark of each type of entry. If two entries share a column, the later mark of this list is drawn. */
const MARKS: Partial<Record<Entry['type'], string>> = {
  stalled: '~',
  attempt: '?',
  resuming: '?',
  refused: '-',
  fenced: 'f',
  counting: '+',
  work: 'w',
  renewed: 'r',
  releasing: '>',
  handedOff: 'H',
  clockSet: 'c',
  lost: 'L',
  granted: 'G',
  frozen: 'Z',
  thawed: 'z',
  killed: 'K',
};
const ORDER = Object.values(MARKS);

export const LEGEND =
  'G granted, = holds, w works, r renewed, > releases, H hands off, L lost, ? tries, - refused, Z frozen, z thawed, ~ stalled, ' +
  'K killed, c clock set; the server: G granted, r renewed, > released, b given back, a asked for one more run, t begins one more run, f fenced, + counted';

/** Draws the slice of a finding, with its entries below. */
export function drawFinding(history: readonly Entry[], { key, from, to }: Finding): string {
  const start = history[0]?.at ?? 0;
  const slice = history.filter((entry) => isIn(entry, key, from - MARGIN_MS, to + MARGIN_MS));
  const shown = slice.filter(({ type }) => type !== 'work' && type !== 'stalled');
  const left = shown.length - MOST_LINES;
  return [
    ...drawRows(slice, from - MARGIN_MS, to + MARGIN_MS, start),
    ...shown.slice(0, MOST_LINES).map((entry) => lineOf(entry, start)),
    ...(left > 0 ? [`    … and ${left} more`] : []),
  ].join('\n');
}

function isIn(entry: Entry, key: string | undefined, from: number, to: number): boolean {
  const begins = entry.type === 'stalled' ? entry.from : entry.at;
  return entry.at >= from && begins <= to && (!('key' in entry) || key === undefined || entry.key === key);
}

function drawRows(slice: readonly Entry[], from: number, to: number, start: number): string[] {
  const msPerColumn = (to - from) / COLUMNS;
  const column = (at: number) => Math.min(COLUMNS - 1, Math.max(0, Math.floor((at - from) / msPerColumn)));
  const rows = new Map<string, string[]>();
  const rowOf = (name: string) => {
    const row = rows.get(name) ?? Array<string>(COLUMNS).fill(' ');
    rows.set(name, row);
    return row;
  };
  for (const [name, holds, ends] of spansOf(slice, to)) rowOf(name).fill('=', column(holds), column(ends) + 1);
  for (const entry of slice) {
    const mark = markOf(entry);
    if (mark === undefined) continue;
    const row = rowOf('process' in entry ? entry.process : entry.by);
    if (entry.type === 'stalled') {
      for (let at = column(entry.from); at <= column(entry.at); at++)
        if (row[at] === ' ' || row[at] === '=') row[at] = mark;
      continue;
    }
    const at = column(entry.at);
    if (ORDER.indexOf(mark) >= ORDER.indexOf(row[at] ?? ' ')) row[at] = mark;
  }
  const seconds = (at: number) => `${((at - start) / 1_000).toFixed(3)} s`;
  const names = [...rows.keys()].sort();
  const width = Math.max(...names.map((name) => name.length), 0);
  return [
    `    from ${seconds(from)} to ${seconds(to)} of the run, ${msPerColumn.toFixed(1)} ms a column`,
    ...names.map((name) => `    ${name.padEnd(width)} |${rows.get(name)?.join('')}|`),
  ];
}

/** The spans from each grant to its end: the process, the beginning and the end. */
function spansOf(slice: readonly Entry[], to: number): [string, number, number][] {
  return slice.flatMap((entry): [string, number, number][] => {
    if (entry.type !== 'granted') return [];
    const { by, key, fencingToken, at } = entry;
    const end = slice.find(
      (other) =>
        other.at >= at &&
        ((other.type === 'killed' && other.process === by) ||
          ((other.type === 'lost' || other.type === 'releasing' || other.type === 'handedOff') &&
            other.by === by &&
            other.key === key &&
            other.fencingToken === fencingToken)),
    );
    return [[by, at, end?.at ?? to]];
  });
}

function markOf(entry: Entry): string | undefined {
  if (entry.type !== 'served') return MARKS[entry.type];
  if (!entry.applied) return undefined;
  return { acquire: 'G', resume: 'G', renew: 'r', release: '>', giveBack: 'b', ask: 'a', turn: 't' }[entry.what];
}

/** An entry as a line: the moment, the process, the type and the details, with shortened ids. */
function lineOf(entry: Entry, start: number): string {
  const { by, at, wall, monotonic, type, ...rest } = entry;
  const details = JSON.stringify(rest, (name, value) => {
    if (/lockId|releasedBy|handed|^id$/i.test(name) && typeof value === 'string') return value.slice(0, 4);
    return name === 'since' || name === 'from' ? ((value - start) / 1_000).toFixed(4) : value;
  });
  return `    ${((at - start) / 1_000).toFixed(4).padStart(9)} ${by.padEnd(7)} ${type} ${details.replaceAll('"', '')}`;
}
