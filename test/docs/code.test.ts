import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { blocksOf, examplesOf } from './blocks.ts';
import { entries, repository } from './entries.ts';
import { pages } from './pages.ts';

describe('the code in the docs and the docstrings', () => {
  test('compiles as it stands, block by block', () => {
    const folder = mkdtempSync(join(repository, 'test/docs/blocks-'));
    try {
      expect(pages.flatMap(blocksOf).length).toBeGreaterThan(8);
      const examples = [...examplesOf('lib'), ...examplesOf('middleware')];
      expect(examples.length).toBeGreaterThan(50);
      for (const { place, code } of [...pages.flatMap(blocksOf), ...examples]) {
        writeFileSync(join(folder, `${place.replaceAll(/\W/g, '_')}.ts`), `${code}\nexport {};\n`);
      }
      const paths = Object.fromEntries([...entries()].map(([entry, source]) => [entry, [join(repository, source)]]));
      const config = {
        extends: '../../../tsconfig.json',
        compilerOptions: { paths },
        include: ['*.ts', '../old-locks.d.ts'],
        exclude: [],
      };
      writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
      let errors = '';
      try {
        execFileSync(process.execPath, [join(repository, 'node_modules/typescript/bin/tsc'), '-p', folder], {
          encoding: 'utf8',
        });
      } catch (error) {
        errors = (error as { stdout: string }).stdout;
      }
      expect(errors).toBe('');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
