// Reads the pages as GitHub does, where TypeDoc differs.
import type { Application } from 'typedoc';

interface Token {
  readonly type: string;
  readonly info: string;
  readonly content: string;
  children: Token[] | null;
}
type Render = (tokens: readonly Token[], index: number, ...rest: unknown[]) => string;

/** TypeDoc's parser, as far as it is changed. markdown-it has no types of its own. */
interface Parser {
  readonly core: { readonly ruler: { push(name: string, rule: (state: State) => void): void } };
  readonly renderer: { readonly rules: Record<string, Render> };
  readonly utils: { escapeHtml(text: string): string };
}
interface State {
  readonly tokens: readonly Token[];
  readonly Token: new (type: string, tag: string, nesting: number) => Token;
}

/** Makes a heading's anchor of its code, too, and leaves Mermaid's blocks for the browser to draw. */
export function readMarkdownAsGitHub(app: Application): void {
  app.options.setValue('markdownItLoader', (markdown: Parser) => {
    markdown.core.ruler.push('code-in-headings', takeCodeAsText);
    const { fence } = markdown.renderer.rules;
    markdown.renderer.rules.fence = (tokens, index, ...rest) => {
      const { info, content } = tokens[index] as Token;
      if (info !== 'mermaid') return fence?.(tokens, index, ...rest) ?? '';
      return `<pre class="mermaid">${markdown.utils.escapeHtml(content)}</pre>\n`;
    };
  });
}

/** TypeDoc makes the anchor of a heading's texts. So the code in a heading becomes a text between two tags. */
function takeCodeAsText({ tokens, Token }: State): void {
  for (const [index, token] of tokens.entries()) {
    if (tokens[index - 1]?.type !== 'heading_open') continue;
    token.children = (token.children ?? []).flatMap((child) => {
      if (child.type !== 'code_inline') return [child];
      const text = Object.assign(new Token('text', '', 0), { content: child.content });
      return [new Token('code_open', 'code', 1), text, new Token('code_close', 'code', -1)];
    });
  }
}
