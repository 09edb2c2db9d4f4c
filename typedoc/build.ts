// Builds the docs site: the pages and the reference of the public API. `npm run docs` writes site/; with an argument,
// writes into that folder. The site makes no request to another host, and works from a file and below any path.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import {
  Application,
  type Context,
  Converter,
  DocumentReflection,
  OptionDefaults,
  PageEvent,
  type Reflection,
  StructureRouter,
  type TypeDocOptions,
} from 'typedoc';
import { entries, repository } from '../test/docs/entries.ts';
import { drawDiagrams } from './diagrams.ts';
import { readMarkdownAsGitHub } from './markdown.ts';
import { copyPages, groupOrder, home, pagesOf } from './pages.ts';

const out = resolve(process.argv[2] ?? join(repository, 'site'));
const copies = mkdtempSync(join(tmpdir(), 'leasehold-site-'));

/** Types without a page: their names, or the signatures that mention them, say all that a reader needs. */
const typesWithoutPage = [
  ...['Busy', 'CalledOnce', 'Covered', 'Done', 'Either', 'EitherOptions', 'HeldBy', 'Of', 'ResultOf', 'Written'],
  ...['GlideClient', 'IoredisClient', 'NodeRedisClient', 'NodeRedisCluster'],
];

/** A page has the address that it has in the repository, and an exported name stands below its entry. */
class Router extends StructureRouter {
  protected override getIdealBaseName(reflection: Reflection): string {
    if (!(reflection instanceof DocumentReflection)) return `api/${super.getIdealBaseName(reflection)}`;
    const path = reflection.project.files.getReflectionPath(reflection);
    return relative(copies, path ?? reflection.name).replace(/\.md$/, '');
  }
}

function optionsFor(pages: readonly string[]): TypeDocOptions {
  return {
    name: 'leasehold',
    out,
    tsconfig: join(repository, 'tsconfig.build.json'),
    // `npm run check` checks the types, with the project's own TypeScript.
    skipErrorChecking: true,
    basePath: repository,
    entryPoints: [...entries().values()].map((source) => join(repository, source)),
    readme: join(copies, 'README.md'),
    projectDocuments: pages.map((page) => join(copies, page)),
    router: 'repository',
    // The addresses of the sources come from no clone's remote: a build in an archive gives the same site.
    disableGit: true,
    sourceLinkTemplate: `${home}/{path}#L{line}`,
    headings: { readme: false },
    navigation: { includeGroups: true },
    sort: ['kind', 'instance-first', 'alphabetical-ignoring-documents'],
    groupOrder,
    // The CDK's tools read this tag: the value of a property is known after deployment alone.
    blockTags: [...OptionDefaults.blockTags, '@attribute'],
    excludeTags: ['@attribute'],
    excludeExternals: true,
    excludePrivate: true,
    excludeProtected: true,
    highlightLanguages: [
      ...OptionDefaults.highlightLanguages,
      'sh',
      'text',
      'yaml',
      'hcl',
      'sql',
      'docker',
      'ini',
      'diff',
      'toml',
    ],
    searchInComments: true,
    searchInDocuments: true,
    treatWarningsAsErrors: true,
    validation: { invalidLink: true, invalidPath: true, notDocumented: true, notExported: true, rewrittenLink: true },
    intentionallyNotExported: typesWithoutPage,
    requiredToBeDocumented: ['Class', 'Interface', 'Function', 'Method', 'Accessor', 'TypeAlias', 'Variable'],
  };
}

/** A module has its entry's name, by which users import it, and not the name of its file. */
function nameModules({ project }: Context): void {
  const names = new Map([...entries()].map(([entry, source]) => [source.replace(/(\/index)?\.ts$/, ''), entry]));
  for (const module of project.children ?? []) module.name = names.get(module.name) ?? module.name;
}

/**
 * Lets a browser read the site from files. There, a link to a folder shows the list of the folder's files, and a page may
 * take no icon from another file. Each page has the icons also in itself: `assets/icons.js` puts them there.
 */
function readableFromFiles(html: string): string {
  return html
    .replaceAll(/ href="((?:\.\.\/)+|\.\/)(?=["#])/g, ' href="$1index.html')
    .replaceAll(/ href="[./]*assets\/icons\.svg#/g, ' href="#');
}

const pages = pagesOf(repository);
try {
  copyPages(repository, copies, pages);
  const app = await Application.bootstrapWithPlugins(optionsFor(pages));
  app.renderer.defineRouter('repository', Router);
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, nameModules);
  app.renderer.on(PageEvent.END, (page) => {
    page.contents = page.contents && readableFromFiles(page.contents);
  });
  drawDiagrams(app);
  readMarkdownAsGitHub(app);
  const project = await app.convert();
  if (project) {
    app.validate(project);
    await app.generateDocs(project, out);
  }
  if (!project || app.logger.hasErrors() || app.logger.hasWarnings()) process.exitCode = 1;
} finally {
  rmSync(copies, { recursive: true });
}
