import { globSync } from 'node:fs';
import { repository } from './entries.ts';
import { read } from './pages.ts';

/** A TypeScript block that a reader may copy. */
export interface Block {
  /** The file, and the line at which the block starts. */
  readonly place: string;
  readonly code: string;
}

/** The TypeScript blocks of a page, including indented blocks. */
export const blocksOf = (page: string): Block[] => blocksIn(page, /^( *)```(?:ts|typescript)\n(.*?)^\1```/gms);

/** The TypeScript blocks in the docstrings of a folder's sources. */
export const examplesOf = (folder: 'lib' | 'middleware'): Block[] =>
  globSync(`${folder}/**/*.ts`, { cwd: repository }).flatMap((source) =>
    blocksIn(source, /^( *\*) ```ts\n(.*?)^ *\* ```/gms).map(({ place, code }) => ({
      place,
      code: code.replaceAll(/^ *\* ?/gm, ''),
    })),
  );

function blocksIn(file: string, pattern: RegExp): Block[] {
  const text = read(file);
  return [...text.matchAll(pattern)].map((match) => ({
    place: `${file}:${text.slice(0, match.index).split('\n').length}`,
    code: match[2] as string,
  }));
}
