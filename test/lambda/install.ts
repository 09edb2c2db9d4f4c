/**
 * Builds Lambda's own runtime client for the tests in this folder: once, in about 40 s, and again only when
 * package-lock.json changes. `npm run test:lambda` runs this program first.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(import.meta.url);
const folder = import.meta.dirname;
const lockFile = join(folder, 'package-lock.json');
/** A copy of the lock file that was installed. */
const stamp = join(folder, 'node_modules/installed.json');

/** The tools of the build, and the Debian packages that have them. */
const tools = { cmake: 'cmake', 'g++': 'g++', make: 'make', python3: 'python3', xz: 'xz-utils' };

const isInstalled = () => existsSync(stamp) && readFileSync(stamp, 'utf8') === readFileSync(lockFile, 'utf8');

/** The reason why the client cannot be built here, and the remedy. Undefined when it can be built. */
function obstacle(): string | undefined {
  if (process.platform !== 'linux') return `aws-lambda-ric builds on Linux only, and this is ${process.platform}`;
  const isThere = (tool: string) => spawnSync('sh', ['-c', 'command -v "$0"', tool]).status === 0;
  const lacking = Object.entries(tools).filter(([tool]) => !isThere(tool));
  if (lacking.length === 0) return undefined;
  const [names, packages] = [0, 1].map((column) => lacking.map((tool) => tool[column]));
  return `aws-lambda-ric needs ${names?.join(', ')} to build: apt-get install ${packages?.join(' ')}`;
}

/** Finds the runtime client's program, or says what to do to have it. */
export function findRuntime(): { program: string } | { missing: string } {
  if (isInstalled()) return { program: require.resolve('aws-lambda-ric') };
  return { missing: obstacle() ?? 'aws-lambda-ric is not built yet: npm run test:lambda' };
}

function install(): void {
  console.log('Building aws-lambda-ric in test/lambda/node_modules, once: about 40 s.');
  const { status, stdout, stderr, error } = spawnSync(
    'npm',
    ['ci', '--foreground-scripts', '--no-audit', '--no-fund'],
    {
      cwd: folder,
      encoding: 'utf8',
    },
  );
  if (status !== 0) {
    throw new Error(
      `Expected npm ci in ${folder} to succeed, but it ended with ${error ?? status}:\n${stdout}${stderr}`,
    );
  }
  writeFileSync(stamp, readFileSync(lockFile));
}

if (import.meta.main && !isInstalled()) {
  const why = obstacle();
  if (why === undefined) install();
  else if (process.env.CI) throw new Error(`Expected every test to run in CI, but ${why}`);
  else console.warn(`The tests on Lambda's runtime are skipped: ${why}`);
}
