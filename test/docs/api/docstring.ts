import type { ApiItem } from './extract.ts';

export interface Docstring {
  readonly prose: string;
  /** The texts of a block tag, such as `@throws`: a text for each occurrence. */
  tagged(tag: string): readonly string[];
}

/** Reads a docstring that API Extractor has normalised. */
export function docstringOf({ docComment = '' }: ApiItem): Docstring {
  const text = docComment
    .replace(/^\/\*\*\n?/, '')
    .replace(/\s*\*\/\s*$/, '')
    .replaceAll(/^ \* ?/gm, '');
  const [prose = '', ...blocks] = text.split(/^@(?=\w)/m);
  return {
    prose: withoutEscapes(prose),
    tagged: (tag) =>
      blocks
        .filter((block) => block.startsWith(`${tag}\n`) || block.startsWith(`${tag} `))
        .map((block) => {
          return withoutEscapes(block.slice(tag.length));
        }),
  };
}

/** Removes the escapes of TSDoc, and the sentence that API Extractor writes for a constructor. */
const withoutEscapes = (text: string): string =>
  text
    .replaceAll(/\\([{}@<>])/g, '$1')
    .replace(/Constructs a new instance of the `\w+` class\s*/, '')
    .trim();
