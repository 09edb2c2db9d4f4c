/**
 * `npm run test:mutation`: breaks, one after the other, each line that keeps an invariant, in a copy of the sources, and
 * runs the tests there until one fails. Exits with 1 when a mutant survives, or when its line is not to be found.
 * `-- --only 'memory.ts'` takes those mutants whose file or name has that text, and `-- --part 1/12` every twelfth mutant.
 */
import { execFile } from 'node:child_process';
import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Mutant, mutants } from './mutants.ts';

const { values: options } = parseArgs({
  options: { only: { type: 'string', default: '' }, part: { type: 'string', default: '1/1' } },
});
const [, part = 0, parts = 0] = (/^(\d+)\/(\d+)$/.exec(options.part) ?? []).map(Number);
if (!(part >= 1 && part <= parts))
  throw new TypeError(`--part must be a part such as 1/3, but it is '${options.part}'.`);
const root = fileURLToPath(new URL('../..', import.meta.url));

/** Milliseconds after which tests count as endless, at the least. A mutant may loop for ever. */
const ENDLESS_MS = 120_000;
const WORKERS = Math.min(availableParallelism(), 4);

/** The verdict of the tests: the test that failed first, with its file, or that no test failed. */
type Verdict = { readonly killedBy: string; readonly in?: string | undefined } | { readonly survived: string };

/**
 * For each mutant, the file of the test that killed the mutant in the last whole run. That file runs first: most mutants then
 * die within a second or two. An entry that is stale costs time and nothing else.
 */
const KILLERS = join(root, 'test/mutation/killers.json');
const killers: Record<string, string> = JSON.parse(readFileSync(KILLERS, 'utf8'));

interface JestReport {
  readonly numTotalTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly message: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
}

function copySources(): string {
  const folder = mkdtempSync(join(tmpdir(), 'leasehold-mutation-'));
  const isSource = (path: string) => !path.includes('node_modules');
  for (const name of ['lib', 'middleware', 'test', 'demo', 'bench', 'jest.config.js', 'package.json']) {
    cpSync(join(root, name), join(folder, name), { recursive: true, filter: isSource });
  }
  for (const modules of ['node_modules', 'demo/local/node_modules']) {
    symlinkSync(join(root, modules), join(folder, modules));
  }
  return folder;
}

async function runTests(folder: string, mostMs: number, mutant?: Mutant): Promise<Verdict> {
  const report = join(folder, 'report.json');
  const jest = ['node_modules/jest/bin/jest.js', '--config', 'test/mutation/jest.config.js'];
  // The mutants are judged side by side, each in one process.
  jest.push(mutant ? '--runInBand' : `--maxWorkers=${WORKERS}`);
  const args = ['--experimental-vm-modules', ...jest, '--json', `--outputFile=${report}`];
  // By its name the runner knows a mutant, and skips what comes after the first test that fails.
  const killer = (mutant && killers[idOf(mutant)]) ?? '';
  const about = { __STRYKER_ACTIVE_MUTANT__: mutant?.name ?? '', MUTATED_FILE: mutant?.file ?? '', KILLER: killer };
  const env = { ...process.env, ...about };
  await new Promise<void>((resolve) => {
    execFile(process.execPath, args, { cwd: folder, env, timeout: mostMs, killSignal: 'SIGKILL' }, () => resolve());
  });
  let results: JestReport;
  try {
    results = JSON.parse(readFileSync(report, 'utf8'));
  } catch {
    return { killedBy: 'its tests do not end' };
  }
  rmSync(report);
  for (const { assertionResults, message, name } of results.testResults) {
    const failed = assertionResults.find(({ status }) => status === 'failed');
    if (failed) return { killedBy: failed.fullName, in: relative(folder, name) };
    if (assertionResults.length === 0) return { survived: `a file of tests does not run: ${message}` };
  }
  return { survived: `${results.numTotalTests} tests pass` };
}

const idOf = ({ file, name }: Mutant): string => `${file}: ${name}`;

/** The file with the mutant's line broken. */
function mutate({ file, code, becomes }: Mutant): string {
  const source = readFileSync(join(root, file), 'utf8');
  const parts = source.split(code);
  if (parts.length === 2) return parts.join(becomes);
  throw new Error(`Expected its line once in ${file}, but it stands there ${parts.length - 1} times: ${code}`);
}

async function judge(folder: string, mostMs: number, mutant: Mutant): Promise<Verdict> {
  const { file } = mutant;
  try {
    writeFileSync(join(folder, file), mutate(mutant));
    return await runTests(folder, mostMs, mutant);
  } catch (error) {
    return { survived: String(error) };
  } finally {
    cpSync(join(root, file), join(folder, file));
  }
}

/** One folder of sources for each core; every one takes the next mutant that is left. */
async function judgeAll(mutants: readonly Mutant[], mostMs: number): Promise<number> {
  const left = [...mutants];
  let survivors = 0;
  const work = async () => {
    const folder = copySources();
    for (let mutant = left.shift(); mutant !== undefined; mutant = left.shift()) {
      const verdict = await judge(folder, mostMs, mutant);
      const what = idOf(mutant);
      if ('survived' in verdict) {
        survivors++;
        console.log(`SURVIVED ${what}: ${verdict.survived}`);
      } else {
        if (verdict.in) killers[what] = verdict.in;
        console.log(`killed   ${what}, by: ${verdict.killedBy}`);
      }
    }
    rmSync(folder, { recursive: true });
  };
  await Promise.all(Array.from({ length: WORKERS }, work));
  return survivors;
}

const folder = copySources();
const started = performance.now();
const sound = await runTests(folder, 5 * ENDLESS_MS);
// All tests of a mutant that survives take as long, and longer where one mutant per core is judged at a time.
const mostMs = Math.max(ENDLESS_MS, Math.ceil(3 * (performance.now() - started)));
rmSync(folder, { recursive: true });
if ('killedBy' in sound) {
  console.error(`The tests fail without a mutant: ${sound.killedBy}`);
  process.exit(1);
}
const chosen = mutants.filter((mutant, index) => idOf(mutant).includes(options.only) && index % parts === part - 1);
const survivors = await judgeAll(chosen, mostMs);
if (!process.env.CI) {
  const known = mutants.map(idOf).filter((id) => killers[id]);
  writeFileSync(KILLERS, `${JSON.stringify(Object.fromEntries(known.map((id) => [id, killers[id]])), null, 2)}\n`);
}
const killed = chosen.length - survivors;
console.log(`${killed} passed, ${survivors} failed`);
if (process.env.TEST_COUNTS) appendFileSync(process.env.TEST_COUNTS, `${killed} ${survivors} 0\n`);
process.exitCode = survivors === 0 ? 0 : 1;
