import { existsSync, globSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { repository } from './entries.ts';
import { pages, read } from './pages.ts';

/** A page without its code blocks, since a `#` in code is no heading. */
const withoutBlocks = (page: string): string => read(page).replaceAll(/^( *)```.*?^\1```/gms, '');

/** The anchors that GitHub gives to a page's headings. The second of two equal headings gets a number. */
function anchorsOf(page: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, title = ''] of read(page)
    .replaceAll(/^```.*?^```/gms, '')
    .matchAll(/^#+ (.*)$/gm)) {
    const slug = title
      .toLowerCase()
      .replaceAll(/[^\w\s-]/g, '')
      .replaceAll(/\s/g, '-');
    let anchor = slug;
    for (let again = 1; anchors.has(anchor); again += 1) anchor = `${slug}-${again}`;
    anchors.add(anchor);
  }
  return anchors;
}

/** An absolute link to a file of the repository, as README.md has for the registry's page. */
const HOME =
  /^https:\/\/(?:github\.com\/leasehold\/leasehold\/(?:blob|tree)|raw\.githubusercontent\.com\/leasehold\/leasehold)\/(?:main\/)?/;

/** The file or folder that a link of a page names, or undefined if the link leads out of the repository. */
function targetOf(page: string, path: string): string | undefined {
  if (HOME.test(path)) return path.replace(HOME, '');
  if (/^https?:/.test(path)) return undefined;
  return path ? join(page, '..', path) : page;
}

describe('links', () => {
  const others = ['CHANGELOG.md', 'SECURITY.md', 'CODE_OF_CONDUCT.md'];
  test.each([...others, ...globSync('examples/**/README.md', { cwd: repository }), ...pages])(
    'in %s point to existing files and headings',
    (page) => {
      const links = [
        ...withoutBlocks(page)
          .replaceAll(/`[^`\n]*`/g, 'code')
          .matchAll(/\]\(([^)#\s]*)(?:#([^)\s]*))?\)/g),
      ];
      const dead = links.filter(([, path = '', heading]) => {
        const target = targetOf(page, path);
        if (target === undefined) return false;
        if (!existsSync(join(repository, target))) return true;
        if (heading === undefined) return false;
        return !statSync(join(repository, target)).isFile() || !anchorsOf(target).has(heading);
      });
      expect(dead.map(([link]) => link)).toEqual([]);
    },
  );

  test('in README.md are absolute, since the page of a registry has no other files', () => {
    const relative = [...withoutBlocks('README.md').matchAll(/\]\((?!https:)[^)]*\)/g)].map(([link]) => link);
    expect(relative).toEqual([]);
  });

  test('lead from docs/README.md to every page', () => {
    const map = read('docs/README.md');
    const missing = pages.filter((page) => page.startsWith('docs/') && page !== 'docs/README.md');
    expect(missing.filter((page) => !map.includes(`(${page.slice('docs/'.length)}`))).toEqual([]);
  });
});

describe('paths', () => {
  test.each(pages)('in %s name existing files', (page) => {
    const paths = [...read(page).matchAll(/`((?:lib|middleware|test|docs|bin|lambda|demo|bench)\/[\w./-]*)`/g)];
    const gone = paths.map(([, path = '']) => path).filter((path) => !existsSync(join(repository, path)));
    expect(gone).toEqual([]);
  });
});
