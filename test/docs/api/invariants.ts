import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from '../entries.ts';

const read = (path: string): string => readFileSync(join(repository, path), 'utf8');

/** The source files that name an invariant beside the line that keeps the invariant, by the invariant's number. */
export function keepers(): Map<number, string[]> {
  const found = new Map<number, string[]>();
  for (const file of globSync('{lib,middleware}/**/*.ts', { cwd: repository }).sort()) {
    const mentions = read(file).matchAll(/\binvariants? (\d+(?:(?:, | and )\d+)*)/gi);
    const numbers = [...mentions].flatMap(([, list = '']) => list.match(/\d+/g) ?? []).map(Number);
    for (const number of new Set(numbers)) found.set(number, [...(found.get(number) ?? []), file]);
  }
  return found;
}

/** Fills in the table of the invariants and the files that keep them. docs/protocol.md has the names. */
export function fillInInvariants(page: string): string {
  const files = keepers();
  const names = read('docs/protocol.md').matchAll(/^(\d+)\. \*\*(.*?)\.?\*\*/gm);
  const rows = [...names].map(([, number, name]) => {
    const links = (files.get(Number(number)) ?? []).map((file) => `[${file}](../${file})`);
    return `| ${number} | ${name} | ${links.join(', ')} |`;
  });
  const table = ['| | invariant | stands in |', '|---|---|---|', ...rows].join('\n');
  return page.replace(/(<!-- invariants -->\n).*?(<!-- end -->)/s, `$1\n${table}\n\n$2`);
}
