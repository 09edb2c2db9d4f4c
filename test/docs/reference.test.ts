import { execFileSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { METRIC } from '../../lib/names.ts';
import { entries, repository } from './entries.ts';

const read = (path: string) => readFileSync(join(repository, path), 'utf8');
const page = read('docs/reference.md');
const report = read('docs/api.md');

/** The part of the page below a heading, up to the next heading of the same depth. */
const chapter = (heading: string): string => page.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';

/** The names in the first column of a chapter's table. */
const firstColumn = (text: string): (string | undefined)[] =>
  [...text.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name);

/** The names that an entry exports, by docs/api.md. */
function exportsOf(entry: string): string[] {
  const body = new RegExp(`declare namespace ${entry} \\{\\s+export \\{(.*?)\\}`, 's').exec(report)?.[1] ?? '';
  return body.split(',').map((name) => name.trim());
}

describe('docs/reference.md', () => {
  test.each([...entries().keys()])('has a heading for each export of %s, and for nothing else', (entry) => {
    const headings = [...chapter(`\`${entry}\``).matchAll(/^### `(.*)`$/gm)].map(([, name]) => name);
    expect(headings.sort()).toEqual(exportsOf(basename(entry)).sort());
  });

  test('has a default for each option that may be left out', () => {
    const tables = [...page.matchAll(/^\| option \| type \| default \| meaning \|\n\|[-|]*\|\n((?:\|.*\n)*)/gm)];
    expect(tables.length).toBeGreaterThan(0);
    const rows = tables.flatMap(([, text = '']) => text.trimEnd().split('\n'));
    expect(rows.filter((row) => row.split(/(?<!\\)\|/)[3]?.trim() === '')).toEqual([]);
  });

  const event = /^type LockEvent =.*?^\}\);/ms.exec(report)?.[0] ?? '';

  test('lists exactly the types of events', () => {
    const types = [...event.matchAll(/type: '(\w+)'/g)].map(([, type]) => type);
    expect(types.length).toBeGreaterThan(0);
    expect(firstColumn(chapter('Events')).sort()).toEqual(types.sort());
  });

  test('names every property of an event', () => {
    const properties = new Set([...event.matchAll(/readonly (\w+)\??:/g)].map(([, name]) => name));
    expect([...properties].filter((name) => !chapter('Events').includes(`\`${name}\``))).toEqual([]);
  });

  test('lists every error with its code, and no other', () => {
    const source = read('lib/record/errors.ts');
    const errors = [...source.matchAll(/kind: string = '(\w+)'.*?code(?:: string)? = '(\w+)'/gs)].map(
      ([, ...pair]) => pair,
    );
    const rows = [...chapter('Errors').matchAll(/^\| `(\w+)` \| `(\w+)` \|/gm)].map(([, ...pair]) => pair);
    expect(errors.length).toBeGreaterThan(0);
    expect(rows.sort()).toEqual(errors.sort());
  });

  test('lists every reason for which a lease is lost, and no other', () => {
    const type = /^type LostReason = (.*?);/ms.exec(report)?.[1] ?? '';
    const told = [...(/### `LostReason`(.*?)(?=\n###|<!--)/s.exec(page)?.[1] ?? '').matchAll(/^- ([^:]*):/gm)];
    const names = told.flatMap(([, list = '']) => [...list.matchAll(/`(\w+)`/g)].map(([, name]) => name));
    expect(names.sort()).toEqual([...type.matchAll(/'(\w+)'/g)].map(([, name]) => name).sort());
  });

  test('lists exactly the environment variables that the sources name', () => {
    const sources = globSync('{lib,middleware,bin}/**/*.ts', {
      cwd: repository,
      exclude: ['bin/app.ts', 'bin/demo-stack.ts'],
    });
    const names = sources.flatMap((path) => read(path).match(/\b(?:LOCK|AWS_LAMBDA)_[A-Z_]+\b/g) ?? []);
    expect(firstColumn(chapter('Environment variables')).sort()).toEqual([...new Set(names)].sort());
  });

  test('lists exactly the published metrics, each with existing methods that read the metric', () => {
    const rows = [...chapter('Metrics').matchAll(/^\| `(\w+)` \| (?:count|ms) \| ([^|]*) \|/gm)];
    expect(rows.map(([, metric]) => metric).sort()).toEqual(Object.values(METRIC).sort());
    for (const [, , methods = ''] of rows) {
      for (const [, method] of methods.matchAll(/`(\w+)\(\)`/g)) expect(report).toContain(`    ${method}(`);
    }
  });

  test('shows the help of the command as the command prints it', () => {
    const command = join(repository, 'bin/leasehold.ts');
    const usage = execFileSync(process.execPath, [command, '--help'], { encoding: 'utf8' });
    expect(chapter('The command')).toContain(`\`\`\`text\n${usage}\`\`\``);
  });
});
