import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { blocksOf } from './blocks.ts';
import { entries, repository } from './entries.ts';
import { pages } from './pages.ts';

describe('the code in the docs', () => {
  test('compiles as it stands, block by block', () => {
    const folder = mkdtempSync(join(repository, 'test/docs/blocks-'));
    try {
      const names = pages.flatMap((page) =>
        blocksOf(page).map(({ place, code }) => {
          const file = `${place.replaceAll(/\W/g, '_')}.ts`;
          writeFileSync(join(folder, file), `${code}\nexport {};\n`);
          return file;
        }),
      );
      expect(names.length).toBeGreaterThan(8);
      const paths = Object.fromEntries([...entries()].map(([entry, source]) => [entry, [join(repository, source)]]));
      const config = { extends: '../../../tsconfig.json', compilerOptions: { paths }, include: ['*.ts'], exclude: [] };
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
