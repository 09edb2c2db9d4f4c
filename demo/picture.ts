import { tasks } from '../lambda/tasks.ts';
import { busyTriesOf, type Entry, type Run, startOf } from './record.ts';
import {
  BAR,
  band,
  busyTick,
  closedBlock,
  colourOf,
  cross,
  FAINT,
  HALO,
  hatch,
  ICE,
  INK,
  iceBlock,
  LEFT,
  label,
  RIGHT,
  round,
  snowflake,
  text,
  title,
  WIDTH,
  widthOf,
  xml,
} from './shapes.ts';

const LANES_TOP = 124;
const LANE = 32;
const ROW = 25;

interface Freeze {
  readonly from: number;
  readonly to: number;
}

/** The moments at which the demo killed or froze a Lambda. */
interface Strikes {
  killed(lambda: number): number | undefined;
  frozen(lambda: number): Freeze | undefined;
}

/**
 * Draws a record: a lane for each Lambda and, on the same axis of time, a row for each task. A row shows that no two runs of
 * its task overlap.
 * @param place the place of the locks, in words
 */
export function drawTimeline(runs: readonly Run[], entries: readonly Entry[], place = 'one table of locks'): string {
  const startedAt = startOf(entries);
  const endedAt = Math.max(...entries.map((entry) => entry.at), ...runs.map((run) => run.believedUntil));
  const x = (at: number) => round(LEFT + ((at - startedAt) / (endedAt - startedAt)) * (WIDTH - LEFT - RIGHT));
  const strikes = strikesOf(entries);
  const lambdas = [...new Set(entries.map((entry) => entry.lambda))].sort((a, b) => a - b);

  const lanesBottom = LANES_TOP + lambdas.length * LANE;
  const rowsTop = lanesBottom + 62;
  const rowsBottom = rowsTop + tasks.length * ROW;
  const height = rowsBottom + 108;

  const lanes = lambdas.map((lambda, index) => {
    const y = LANES_TOP + index * LANE + (LANE - BAR) / 2;
    const own = runs.filter((run) => run.lambda === lambda);
    return [
      label(`Lambda ${lambda}`, y, colourOf(lambda), 600),
      ...own.map((run) => bar(run, run.task, x, y, strikes)),
      strikeMarks(lambda, x, y, strikes, endedAt),
    ];
  });
  const rows = tasks.map(({ name }, index) => {
    const y = rowsTop + index * ROW + 2;
    const own = runs.filter((run) => run.task === name);
    return [
      label(name, y, INK, 400),
      ...own.map((run, i) => leaseLeft(run, own[i + 1], x, y)),
      ...own.map((run) => bar(run, caption(run), x, y, strikes)),
      ...own.map((run) => endMark(run, x, y, strikes)),
      ...busyTriesOf(entries)
        .filter(({ task }) => task === name)
        .map(({ at, lambda }) => busyTick(x(at), y + BAR + 1, colourOf(lambda))),
    ];
  });

  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif" font-size="11.5" role="img" aria-labelledby="title">`,
    `<defs>${lambdas.map(hatch).join('')}${ICE}</defs>`,
    `<rect width="${WIDTH}" height="${height}" rx="10" fill="#fff"/>`,
    ...heading(runs, entries, lambdas.length, place),
    title('What each Lambda did', LANES_TOP - 26),
    ...band(LANES_TOP, LANE, lambdas.length),
    ...grid(startedAt, endedAt, x, LANES_TOP, lanesBottom),
    ...lanes.flat(),
    title('What happened to each task', rowsTop - 26),
    ...band(rowsTop, ROW, tasks.length),
    ...grid(startedAt, endedAt, x, rowsTop, rowsBottom),
    ...rows.flat(),
    ...legend(rowsBottom + 30, lambdas),
    '</svg>',
  ]
    .filter(Boolean)
    .join('\n')}\n`;
}

type Scale = (at: number) => number;

function heading(runs: readonly Run[], entries: readonly Entry[], lambdas: number, place: string): string[] {
  const busy = busyTriesOf(entries).length;
  const headline = `${tasks.length} tasks, ${lambdas} Lambdas, ${place}: no two runs of a task overlap`;
  const note =
    `${runs.length} runs. One Lambda was killed in mid-task and one frozen for longer than its lease; ` +
    `others took their tasks over. Tasks were met busy, and stepped over, ${busy} times.`;
  return [
    `<text id="title" x="${LEFT}" y="42" font-size="20" font-weight="700" fill="${INK}">${xml(headline)}</text>`,
    text(note, LEFT, 64, `font-size="13" fill="${FAINT}"`),
  ];
}

function grid(startedAt: number, endedAt: number, x: Scale, top: number, bottom: number): string[] {
  const seconds = Math.floor((endedAt - startedAt) / 1000);
  return Array.from({ length: seconds + 1 }, (_, second) => {
    const at = x(startedAt + second * 1000);
    return (
      `<line x1="${at}" x2="${at}" y1="${top - 4}" y2="${bottom}" stroke="#d9dfe5"/>` +
      text(`${second} s`, at, top - 8, `text-anchor="middle" font-size="10.5" fill="${FAINT}"`)
    );
  });
}

/** Draws a run: solid when its task was done, hatched when its work was lost. */
function bar(run: Run, caption: string, x: Scale, y: number, strikes: Strikes): string {
  const done = run.end === 'done';
  const from = x(run.grantedAt);
  const width = round(Math.max(2, x(freezeOf(run, strikes)?.from ?? run.believedUntil) - from));
  const colour = colourOf(run.lambda);
  const fill = done ? `fill="${colour}"` : `fill="url(#lost-${run.lambda})" stroke="${colour}"`;
  return (
    `<g><title>${xml(story(run))}</title>` +
    `<rect x="${from}" y="${y}" width="${width}" height="${BAR}" rx="3" ${fill}/>` +
    // At the end of a lost run stands a mark: its Lambda was killed or frozen.
    `${barText(caption, from, y, done ? width : width - 10, done ? undefined : colour)}</g>`
  );
}

/** Writes as much of a caption as there is room for. Over a hatched bar the letters stand on a plate of their own. */
function barText(caption: string, from: number, y: number, room: number, plated: string | undefined): string {
  const words = [caption, caption.split(' · ')[0] ?? ''].find((words) => widthOf(words) <= room - (plated ? 12 : 6));
  if (words === undefined) return '';
  const middle = round(from + room / 2);
  const width = round(widthOf(words) + 2);
  const plate = `<rect x="${round(middle - width / 2)}" y="${y + 2}" width="${width}" height="${BAR - 4}" rx="2" fill="#fff" opacity="0.9"/>`;
  const letters = `text-anchor="middle" fill="${plated ?? '#fff'}" font-weight="500"`;
  return (plated ? plate : '') + text(words, middle, y + 12.5, letters);
}

/** The text that a pointer over a run shows. */
function story({ task, lambda, fencingToken, takenOverFrom, grantedAt, believedUntil, end }: Run): string {
  const from = takenOverFrom === undefined ? '' : `, taken over from Lambda ${takenOverFrom}`;
  return `${task} by Lambda ${lambda}${from}: ${end} after ${believedUntil - grantedAt} ms, fencing token ${fencingToken}`;
}

function caption({ lambda, takenOverFrom }: Run): string {
  return takenOverFrom === undefined ? `Lambda ${lambda}` : `Lambda ${lambda} · took over from ${takenOverFrom}`;
}

/** Draws the rest of a lease that nobody can release any more: the task stays closed to others until the expiry. */
function leaseLeft({ end, believedUntil, expiresAt }: Run, next: Run | undefined, x: Scale, y: number): string {
  if (end !== 'killed' && end !== 'lost') return '';
  const width = x(Math.min(expiresAt, next?.grantedAt ?? expiresAt)) - x(believedUntil);
  return width > 0 ? closedBlock(x(believedUntil), round(width), y) : '';
}

function endMark(run: Run, x: Scale, y: number, strikes: Strikes): string {
  if (run.end === 'killed') return cross(x(run.believedUntil), y + BAR / 2);
  const freeze = freezeOf(run, strikes);
  if (!freeze) return '';
  return iceBlock(x(freeze.from), x(run.believedUntil), y) + snowflake(x(freeze.from), y + BAR / 2);
}

/** Finds the freeze that cost a run its lease. */
function freezeOf({ lambda, end, grantedAt, believedUntil }: Run, strikes: Strikes): Freeze | undefined {
  const freeze = end === 'lost' ? strikes.frozen(lambda) : undefined;
  return freeze && freeze.from >= grantedAt && freeze.from <= believedUntil ? freeze : undefined;
}

/** Marks the kill or the freeze of a Lambda in its lane. */
function strikeMarks(lambda: number, x: Scale, y: number, strikes: Strikes, endedAt: number): string {
  const killedAt = strikes.killed(lambda);
  if (killedAt !== undefined) {
    const from = x(killedAt);
    return (
      `<line x1="${from}" x2="${x(endedAt)}" y1="${y + BAR / 2}" y2="${y + BAR / 2}" stroke="#b9c2cb" stroke-dasharray="2 4"/>` +
      cross(from, y + BAR / 2) +
      text('killed', from + 14, y + 12.5, `fill="#a4161a" font-weight="600" ${HALO}`)
    );
  }
  const frozen = strikes.frozen(lambda);
  if (!frozen) return '';
  const words = `frozen ${((frozen.to - frozen.from) / 1000).toFixed(1)} s, thawed: isHeld() is false`;
  return (
    iceBlock(x(frozen.from), x(frozen.to), y) +
    snowflake(x(frozen.from), y + BAR / 2) +
    text(words, x(frozen.from) + 14, y + 12.5, `fill="#0b5a83" font-weight="600" ${HALO}`)
  );
}

function legend(y: number, lambdas: readonly number[]): string[] {
  const middle = y + BAR / 2;
  const swatch = (x: number, width: number, attributes: string) =>
    `<rect x="${x}" y="${y}" width="${width}" height="${BAR}" ${attributes}/>`;
  const items: [words: string, drawing: (x: number) => string][] = [
    [
      'a run, in the colour of its Lambda',
      (x) => lambdas.map((lambda, i) => swatch(x + i * 6, 6, `fill="${colourOf(lambda)}"`)).join(''),
    ],
    ['work that was lost', (x) => swatch(x, 36, `rx="3" fill="url(#lost-1)" stroke="${colourOf(1)}"`)],
    ['killed', (x) => cross(x + 18, middle)],
    ["frozen; in a task's row, until its deadline", (x) => iceBlock(x, x + 36, y) + snowflake(x + 2, middle)],
    ['held by nobody; the lease has yet to expire', (x) => closedBlock(x, 36, y)],
    [
      'met busy, and stepped over, by that Lambda',
      (x) => [10, 18, 26].map((dx, i) => busyTick(x + dx, y + 6, colourOf(i + 2))).join(''),
    ],
  ];
  return items.map(([words, drawing], index) => {
    const x = LEFT + (index % 3) * 370;
    const item = drawing(x) + text(words, x + 46, y + 12.5, `fill="${INK}"`);
    return `<g transform="translate(0 ${Math.floor(index / 3) * 30})">${item}</g>`;
  });
}

function strikesOf(entries: readonly Entry[]): Strikes {
  const at = (type: Entry['type'], lambda: number) =>
    entries.find((entry) => entry.type === type && entry.lambda === lambda)?.at;
  return {
    killed: (lambda) => at('killed', lambda),
    frozen: (lambda) => {
      const from = at('frozen', lambda);
      return from === undefined ? undefined : { from, to: at('thawed', lambda) ?? from };
    },
  };
}
