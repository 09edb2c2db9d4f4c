import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { blocksOf, pages, repository } from './blocks.ts';

/** The sources of the package's entries, as package.json says for the build. */
function entries(): Record<string, string[]> {
  const { name, exports } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'));
  return Object.fromEntries(
    Object.entries<{ import?: { default: string } }>(exports).flatMap(([entry, target]) => {
      const source = target.import?.default.replace('./dist/esm/', '').replace(/\.js$/, '.ts');
      return source ? [[join(name, entry), [join(repository, source)]]] : [];
    }),
  );
}

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
      const config = { extends: '../../../tsconfig.json', compilerOptions: { paths: entries() }, include: ['*.ts'] };
      writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ ...config, exclude: [] }));
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

  test.each(pages)('%s links to pages and headings that exist', (page) => {
    const text = readFileSync(join(repository, page), 'utf8');
    const dead = [...text.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)/g)].filter(([, path, heading]) => {
      const target = path ? join(repository, page, '..', path) : join(repository, page);
      try {
        const headings = readFileSync(target, 'utf8').matchAll(/^#+ (.*)$/gm);
        const slugs = [...headings].map(([, title = '']) =>
          title
            .toLowerCase()
            .replaceAll(/[^\w\s-]/g, '')
            .replaceAll(/\s/g, '-'),
        );
        return heading !== undefined && !slugs.includes(heading);
      } catch {
        return true;
      }
    });
    expect(dead.map(([link]) => link)).toEqual([]);
  });
});
