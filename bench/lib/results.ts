import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { prices } from './prices.ts';
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
const DOCS = join(import.meta.dirname, '..', '..', 'docs');
/** The pages of the docs that show figures. */
export const PAGES = ['performance.md', 'scale.md', 'several-keys.md', 'leading.md', 'permits.md', 'waiting.md'].map(
  (page) => join(DOCS, page),
);

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

const read = (measure: string) => JSON.parse(readFileSync(join(FOLDER, `${measure}.json`), 'utf8')) as Result;

/** A page with the kept figures between its markers: `<!-- bench: MEASURE -->` and `<!-- end -->`. */
export const page = (text: string): string =>
  text.replaceAll(/(<!-- bench: (\S+) -->\n).*?(<!-- end -->)/gs, (_, start, name, end) => {
    const figures = name === 'prices' ? markdown(prices(read('cycle'))) : drawn(read(name));
    return `${start}\n${figures}\n\n${end}`;
  });

export function writePages(): void {
  for (const path of PAGES) writeFileSync(path, page(readFileSync(path, 'utf8')));
}
