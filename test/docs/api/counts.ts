import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { plantableFaults } from '../../model/check.ts';
import { mutants } from '../../mutation/mutants.ts';
import { regressions } from '../../simulation/regressions.ts';
import { repository } from '../entries.ts';

/** Fills in the table with the numbers of the proofs. No other page quotes these numbers. */
export async function fillInCounts(page: string): Promise<string> {
  const model = readFileSync(join(repository, 'test/model/model.test.ts'), 'utf8');
  const configurations = /const configurations = \{(.*?)\n\} satisfies/s.exec(model)?.[1]?.match(/^ {2}'/gm) ?? [];
  const rows = [
    ['bounded configurations of the model', configurations.length],
    ['faults that the model can plant', (await plantableFaults()).length],
    ['lines that `npm run test:mutation` breaks', mutants.length],
    ['schedules that failed once', regressions.length],
  ];
  const table = ['| | |', '|---|---|', ...rows.map((row) => `| ${row.join(' | ')} |`)].join('\n');
  return page.replace(/(<!-- counts -->\n).*?(<!-- end -->)/s, `$1\n${table}\n\n$2`);
}
