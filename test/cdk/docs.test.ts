import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { METRIC } from '../../lib/names.ts';

const repository = join(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(repository, path), 'utf8');
const page = read('docs/cdk.md');

interface Prop {
  readonly owner: string;
  readonly name: string;
  /** The default in the docstring. Undefined for a prop that is required. */
  readonly byDefault: string | undefined;
}

/** The props of every exported interface that a user fills in. */
const props: Prop[] = globSync('lib/cdk/*.ts', { cwd: repository }).flatMap((path) =>
  [...read(path).matchAll(/^export interface (\w+(?:Props|Options|Attributes)) [^{]*\{\n(.*?)^\}/gms)].flatMap(
    ([, owner = '', body = '']) =>
      [...body.matchAll(/\/\*\*(.*?)\*\/\s+readonly (\w+)\??:/gs)].map(([, comment = '', name = '']) => ({
        owner,
        name,
        byDefault: /@default (?:- )?(.*)/.exec(comment)?.[1],
      })),
  ),
);

/** The default that the page gives in the row of a prop, below the name of its interface. */
function defaultOnPage({ owner, name }: Prop): string | undefined {
  const section = page.slice(page.indexOf(`\`${owner}\``));
  return new RegExp(`^\\| \`${name}\` \\| ([^|]*) \\|`, 'm').exec(section)?.[1]?.replaceAll('`', '');
}

describe('the page of the constructs', () => {
  test('docs/cdk.md knows every interface', () => {
    expect(new Set(props.map(({ owner }) => owner))).toEqual(
      new Set([
        'LockTableProps',
        'LockTableAttributes',
        'LockKeyOptions',
        'LockGrantOptions',
        'LockMetricOptions',
        'LockAlarmsProps',
        'LockDashboardProps',
        'SingletonFleetProps',
      ]),
    );
  });

  test.each(props)('docs/cdk.md gives, of $owner, $name the default of its docstring', (prop) => {
    expect(defaultOnPage(prop)).toBe(prop.byDefault?.replaceAll('`', '') ?? 'required');
  });

  test('docs/cdk.md names every metric that is published, and the method that reads it', () => {
    const rows = [...page.matchAll(/^\| `(\w+)` \| (?:count|ms) \| `(metric\w+)\(\)`/gm)];
    expect(rows.map(([, metric]) => metric).sort()).toEqual(Object.values(METRIC).sort());
    const source = read('lib/cdk/lock-metrics.ts');
    for (const [, , method] of rows) expect(source).toContain(`  ${method}(`);
  });
});
