import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { entries, repository } from './entries.ts';
import { pages, read } from './pages.ts';

/** The TypeScript blocks of a page, indented ones too, each with the line that it starts at. */
function blocksOf(page: string): { line: number; code: string }[] {
  const text = read(page);
  return [...text.matchAll(/^( *)```(?:ts|typescript)\n(.*?)^\1```/gms)].map((match) => ({
    line: text.slice(0, match.index).split('\n').length,
    code: match[2] as string,
  }));
}

describe('the code in the docs', () => {
  test('compiles as it stands, block by block', () => {
    const folder = mkdtempSync(join(repository, 'test/docs/blocks-'));
    try {
      const names = pages.flatMap((page) =>
        blocksOf(page).map(({ line, code }) => {
          const file = `${page.replaceAll(/\W/g, '_')}_line_${line}.ts`;
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
