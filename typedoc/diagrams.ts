import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Application, PageEvent, RendererEvent } from 'typedoc';

const library = fileURLToPath(import.meta.resolve('@mermaid-js/tiny'));

// TypeDoc hides the page while it loads. Mermaid measures its texts, and hidden texts have no size.
const draw = `window.addEventListener('load', () => {
  app.showPage();
  const isDark = getComputedStyle(document.documentElement).colorScheme === 'dark';
  mermaid.initialize({ startOnLoad: false, theme: isDark ? 'dark' : 'default' });
  mermaid.run();
});
`;

/** Draws the pages' diagrams in the reader's browser. Only a page with a diagram loads the library. */
export function drawDiagrams(app: Application): void {
  app.renderer.on(PageEvent.END, (page) => {
    if (!page.contents?.includes('<pre class="mermaid">')) return;
    const assets = `${'../'.repeat(page.url.split('/').length - 1)}assets`;
    const scripts = ['mermaid.js', 'diagrams.js'].map((file) => `<script defer src="${assets}/${file}"></script>`);
    page.contents = page.contents.replace('</head>', `${scripts.join('')}</head>`);
  });
  app.renderer.on(RendererEvent.END, ({ outputDirectory }) => {
    copyFileSync(library, join(outputDirectory, 'assets/mermaid.js'));
    writeFileSync(join(outputDirectory, 'assets/diagrams.js'), draw);
  });
}
