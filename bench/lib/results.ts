import { globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { markdown, type Table } from './table.ts';

/** The figures of a measure, as `bench/results/` keeps them. */
export interface Result {
  readonly measure: string;
  readonly about: string;
  /** The machine on which they were measured. The load is that of the last 1, 5 and 15 minutes. */
  readonly on: { readonly cpus: string; readonly load: readonly number[]; readonly node: string; readonly sdk: string };
  readonly tables: readonly Table[];
}

const FOLDER = join(import.meta.dirname, '..', 'results');
const PAGE = join(import.meta.dirname, '..', '..', 'docs', 'performance.md');

export function keep(result: Result): void {
  mkdirSync(FOLDER, { recursive: true });
  const short = (_key: string, value: unknown) => (typeof value === 'number' ? Number(value.toPrecision(4)) : value);
  writeFileSync(join(FOLDER, `${result.measure}.json`), `${JSON.stringify(result, short, 1)}\n`);
}

function drawn({ measure, about, on, tables }: Result): string {
  return [
    about,
    '',
    ...tables.flatMap((table) => [markdown(table), '']),
    `\`npm run bench -- --only ${measure}\`; ${on.cpus}, load ${on.load.join(', ')}, Node ${on.node}, SDK ${on.sdk}.`,
  ].join('\n');
}

/** The page with the kept figures between its markers: `<!-- bench: NAME -->` and `<!-- end -->`. */
export function page(text: string): string {
  const results = new Map(
    globSync('*.json', { cwd: FOLDER }).map((file) => {
      const result = JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) as Result;
      return [result.measure, result];
    }),
  );
  return text.replaceAll(/(<!-- bench: (\S+) -->\n).*?(<!-- end -->)/gs, (whole, start, name, end) => {
    const result = results.get(name);
    return result ? `${start}\n${drawn(result)}\n\n${end}` : whole;
  });
}

export function writePage(): void {
  writeFileSync(PAGE, page(readFileSync(PAGE, 'utf8')));
}
