import { globSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';

/** A page of the site, or another file that leads to files. */
export interface Page {
  readonly path: string;
  /** The targets of links, with their anchors. */
  readonly links: readonly string[];
  /** The addresses of what a browser loads with the page. */
  readonly assets: readonly string[];
  readonly anchors: ReadonlySet<string>;
}

export function readPages(site: string): Map<string, Page> {
  const paths = globSync('**/*.html', { cwd: site });
  return new Map(paths.map((path) => [path, pageOf(path, readFileSync(join(site, path), 'utf8'))]));
}

function pageOf(path: string, html: string): Page {
  const links: string[] = [];
  const assets: string[] = [];
  for (const [tag] of html.matchAll(/<[a-z][^>]*>/gi)) {
    const [, name = '', target] = /(?:\s)(href|src)="([^"]*)"/.exec(tag) ?? [];
    if (target === undefined) continue;
    const address = target.replaceAll('&amp;', '&');
    (name === 'href' && /^<a\b/.test(tag) ? links : assets).push(address);
  }
  const anchors = new Set([...html.matchAll(/\sid="([^"]*)"/g)].map(([, id = '']) => id));
  return { path, links, assets, anchors };
}

export const isExternal = (address: string): boolean => /^([a-z]+:|\/)/i.test(address);

/** The path in the site, and the anchor, to which an address on a page leads. */
export function targetOf(page: Page, address: string): { path: string; anchor: string } {
  const [, relative = '', anchor = ''] = /^([^#?]*)[^#]*#?(.*)$/.exec(address) ?? [];
  const path = relative === '' ? page.path : posix.join(posix.dirname(page.path), decodeURIComponent(relative));
  return { path, anchor: decodeURIComponent(anchor) };
}
