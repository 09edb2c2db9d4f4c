// The pages of the site: the Markdown files of the repository, copied with what TypeDoc needs beside their text.
import { copyFileSync, existsSync, globSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';

/** The groups of the pages in the navigation, in its order, each with the paths of its pages. */
const groups: readonly (readonly [name: string, paths: RegExp])[] = [
  ['Guides', /^docs\/[\w-]+\.md$/],
  ['CDK', /^docs\/cdk\//],
  ['Decisions', /^docs\/decisions\//],
  ['Project', /^/],
];

/** The order of the navigation. "Modules" is TypeDoc's name for the entries of the package. */
export const groupOrder = ['Guides', 'CDK', 'Modules', 'Decisions', 'Project'];

/** The address of the repository's files. A link to a file that is no page of the site leads there. */
export const home = 'https://github.com/leasehold/leasehold/blob/main';
/** The start page has absolute links, for the package's page at the registry: to files, and to images as they are. */
const homes = [`${home}/`, 'https://raw.githubusercontent.com/leasehold/leasehold/main/'];

/** A link in Markdown, as far as its target, which stands between the first and the second group. */
const link = /(\]\()([^()\s]+)(?=\))/g;

/** The pages in the order in which docs/README.md links them. README.md is the start page, and not among them. */
export function pagesOf(repository: string): string[] {
  const map = 'docs/README.md';
  const linked = [...readFileSync(join(repository, map), 'utf8').matchAll(link)]
    .map(([, , target = '']) => posix.join('docs', target.replace(/#.*/, '')))
    .filter((path) => path.endsWith('.md'));
  const all = globSync('{docs/**/*,CONTRIBUTING,CHANGELOG}.md', { cwd: repository });
  return [...new Set([map, ...linked, ...all])].filter((path) => path !== 'README.md');
}

/** Copies the start page, `pages` and their images to `folder`, with links that work in the site. */
export function copyPages(repository: string, folder: string, pages: readonly string[]): void {
  for (const page of ['README.md', ...pages]) {
    const target = join(folder, page);
    mkdirSync(dirname(target), { recursive: true });
    const text = readFileSync(join(repository, page), 'utf8');
    const linked = outsideCode(text, (part) => part.replaceAll(link, (_, open, to) => open + relinked(page, to)));
    writeFileSync(target, page === 'README.md' ? linked : withFrontMatter(page, linked));
  }

  function relinked(page: string, to: string): string {
    const [, address = '', anchor = ''] = /^([^#]*)(.*)$/.exec(to) ?? [];
    const base = homes.find((each) => address.startsWith(each));
    const path = base ? address.slice(base.length) : posix.join(posix.dirname(page), address);
    if (address === '' || !existsSync(join(repository, path))) return to;
    if (/\.(svg|png)$/.test(path)) {
      mkdirSync(join(folder, dirname(path)), { recursive: true });
      copyFileSync(join(repository, path), join(folder, path));
    } else if (path !== 'README.md' && !pages.includes(path)) {
      return `${statSync(join(repository, path)).isFile() ? home : home.replace('/blob/', '/tree/')}/${path}${anchor}`;
    }
    return posix.relative(posix.dirname(page), path) + anchor;
  }
}

/** Applies `change` to the parts of a page that are no code: code may have the characters of a link. */
function outsideCode(text: string, change: (part: string) => string): string {
  const parts = text.split(/(^ *```[\s\S]*?^ *```$|`[^`\n]*`)/m);
  return parts.map((part, index) => (index % 2 === 0 ? change(part) : part)).join('');
}

/** TypeDoc takes a page's name and group from its front matter, which GitHub would show as a table. */
function withFrontMatter(page: string, text: string): string {
  const title = /^#+ (.+)$/m.exec(text)?.[1]?.replaceAll('`', '') ?? page;
  const [group] = groups.find(([, paths]) => paths.test(page)) ?? [];
  return `---\ntitle: ${JSON.stringify(title)}\ngroup: ${group}\n---\n\n${text}`;
}
