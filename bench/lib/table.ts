import { type Figure, show } from './statistics.ts';

/** A line of a table: a contender, and its figures by the column's name, which has the unit. */
export interface Row {
  readonly name: string;
  readonly figures: Readonly<Record<string, Figure | number | string | undefined>>;
}

/** A measure's result on one server. */
export interface Table {
  readonly title: string;
  readonly rows: readonly Row[];
}

/** The columns in the order in which rows name them first. */
const columnsOf = ({ rows }: Table): string[] => [...new Set(rows.flatMap(({ figures }) => Object.keys(figures)))];

function cell(figure: Row['figures'][string]): string {
  if (figure === undefined) return '-';
  return typeof figure === 'string' ? figure : show(typeof figure === 'number' ? { value: figure } : figure);
}

const cellsOf = (table: Table): string[][] => {
  const columns = columnsOf(table);
  return [['', ...columns], ...table.rows.map(({ name, figures }) => [name, ...columns.map((c) => cell(figures[c]))])];
};

/** For the terminal. */
export function plain(table: Table): string {
  const lines = cellsOf(table);
  const widths = (lines[0] ?? []).map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0)));
  return [
    table.title,
    ...lines.map((line) =>
      line.map((text, i) => (i ? text.padStart(widths[i] ?? 0) : text.padEnd(widths[i] ?? 0))).join('  '),
    ),
  ].join('\n');
}

/** For a page of the docs. */
export function markdown(table: Table): string {
  const [head = [], ...body] = cellsOf(table);
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [`**${table.title}**`, '', line(head), `|${'---|'.repeat(head.length)}`, ...body.map(line)].join('\n');
}
