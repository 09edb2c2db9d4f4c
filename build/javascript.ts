import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type BuildOptions, build, type Metafile } from 'esbuild';
import { CJS, commands, ESM, libraryEntries, packageJson, repository } from './entries.ts';

type Outputs = Metafile['outputs'];

/** The packages whose code becomes part of the command, so that users need not install them. */
const BUNDLED = ['commander', '@bomb.sh/tab', 'fast-string-truncated-width'];
const NOTICES = 'dist/third-party-licences.txt';

const common = {
  absWorkingDir: repository,
  platform: 'node',
  target: 'node22.3',
  // Names stay as they are in the sources: stacks and the names of errors are for people.
  minifyWhitespace: true,
  minifySyntax: true,
  // Node prints the line of an error that nobody catches, before the message.
  lineLimit: 100,
  sourcemap: true,
  legalComments: 'none',
  logLevel: 'warning',
} satisfies BuildOptions;

/**
 * Writes the ES modules, with their source maps. Code that several entries share stands in chunks, so that a class is one
 * class in all entries. A dynamic import is a chunk of its own, and so stays late.
 */
export async function writeESModules(): Promise<Outputs> {
  const { peerDependencies, devDependencies } = packageJson;
  const external = Object.keys({ ...peerDependencies, ...devDependencies }).filter((name) => !BUNDLED.includes(name));
  const { metafile } = await build({
    ...common,
    entryPoints: [...libraryEntries, ...commands],
    outbase: '.',
    outdir: ESM,
    format: 'esm',
    bundle: true,
    splitting: true,
    external,
    metafile: true,
  });
  return metafile.outputs;
}

/** Writes the CommonJS files: the ES modules of the entries, each translated alone, so that classes are shared here, too. */
export async function writeCommonJS(outputs: Outputs): Promise<void> {
  const entries = Object.keys(outputs).filter((path) => libraryEntries.includes(outputs[path]?.entryPoint ?? ''));
  await build({
    ...common,
    entryPoints: [...reachable(outputs, entries)],
    outbase: ESM,
    outdir: CJS,
    format: 'cjs',
    // CommonJS modules of jest know no import(), and require() is as late.
    supported: { 'dynamic-import': false },
  });
  writeFileSync(join(repository, CJS, 'package.json'), '{"type":"commonjs"}\n');
}

/** The outputs that the given ones import, and themselves. */
function reachable(outputs: Outputs, from: readonly string[]): Set<string> {
  const found = new Set<string>();
  const visit = (path: string) => {
    if (found.has(path)) return;
    found.add(path);
    for (const { path: imported, external } of outputs[path]?.imports ?? []) if (!external) visit(imported);
  };
  from.forEach(visit);
  return found;
}

/** Copies the page of `leasehold serve` beside the output that reads the page: its URL is relative to the module. */
export function copyPage(outputs: Outputs): void {
  const page = join(repository, 'bin/serve/page.html');
  if (!existsSync(page)) return;
  for (const [path, { inputs }] of Object.entries(outputs)) {
    if (!Object.keys(inputs).some((input) => input.startsWith('bin/serve/'))) continue;
    copyFileSync(page, join(repository, dirname(path), 'page.html'));
  }
}

/** The text that a licence wants beside the code: the MIT License has one text, and another copyright in each package. */
function licenceOf(author: string, license: string): string {
  if (license !== 'MIT') throw new Error(`Expected a text of the licence, or MIT, but it is ${license} without a text`);
  const own = readFileSync(join(repository, 'LICENSE'), 'utf8');
  return own.replace(/Copyright .*/, `Copyright (c) ${author}`);
}

/** Writes the licences of the packages whose code is in the command. */
export function writeNotices(outputs: Outputs): void {
  const inputs = Object.values(outputs).flatMap(({ inputs }) => Object.keys(inputs));
  const folders = new Set(inputs.flatMap((path) => /^node_modules\/(@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []));
  const notices = [...folders].sort().map((folder) => {
    const { name, version, license, author } = JSON.parse(
      readFileSync(join(repository, folder, 'package.json'), 'utf8'),
    );
    const licence = readdirSync(join(repository, folder)).find((file) => /^licen[cs]e/i.test(file));
    // The package names its licence and its author, and has no text of the licence.
    if (licence === undefined) return `${name} ${version}\n\n${licenceOf(author, license)}`;
    return `${name} ${version}\n\n${readFileSync(join(repository, folder, licence), 'utf8')}`;
  });
  if (notices.length === 0) return;
  const intro = 'The command leasehold contains code of these packages.';
  writeFileSync(join(repository, NOTICES), `${[intro, ...notices].join('\n\n')}\n`);
}
