/**
 * `npm run test:chaos -- --seconds 60 --seed 1`: processes share locks, a nemesis disturbs the processes, and a checker
 * judges the history. If the checker finds a fault, the program shows the fault, and exits with 1.
 *
 * The seed makes the plan of the nemesis and the choices of the processes. The processes run on a real machine, so the same
 * seed does not repeat a run. `--far-off` also sets clocks by an hour. `--store redis` or `--store file` has the locks there;
 * a Redis is also killed and started again. `--above` uses what stands above a lock: permits, several keys, coalescing,
 * leading and lines. `--judge <folder>` judges a history that was kept.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openStore } from '../../bin/open-store.ts';
import { LockClient } from '../../lib/index.ts';
import { systemClock } from '../../lib/lease/clock.ts';
import { checkAbove, reportAbove } from './above-checker.ts';
import { check } from './checker.ts';
import { HistoryWriter, readHistory } from './history.ts';
import { type Blow, planOf } from './nemesis.ts';
import { STORE_NAMES, type StoreName, startPlace } from './places.ts';
import { report } from './report.ts';
import { BY_FAKETIME, KEYS, SHIFTED, STANDING_STILL, type Stage, Victim } from './victim.ts';

const PROCESSES = 8;
/** Each of these processes makes many calls at a time. */
const PROCESSES_ABOVE = 4;
const NO_CLOCKS = { shifted: [], standingStill: [], farOff: false };

async function carryOut(plan: readonly Blow[], victims: readonly Victim[], { place, history }: Stage): Promise<void> {
  const started = performance.now();
  const underWay: Promise<void>[] = [];
  let isDown = false;
  const strikeServer = async (what: 'freezeServer' | 'killServer', ms: number) => {
    if (isDown) return;
    isDown = true;
    if (what === 'freezeServer') place.freeze();
    else await place.kill();
    history.write({ type: what === 'freezeServer' ? 'serverFrozen' : 'serverKilled' });
    await sleep(ms);
    history.write({ type: what === 'freezeServer' ? 'serverThawed' : 'serverRestarted' });
    if (what === 'freezeServer') place.thaw();
    else await place.restart();
    isDown = false;
  };
  const writing = setInterval(() => {
    for (const victim of victims) victim.writeFaults();
  }, 250);
  for (const blow of plan) {
    await sleep(Math.max(0, blow.at - (performance.now() - started)));
    const victim = victims[blow.process - 1] as Victim;
    const isOnServer = blow.do === 'freezeServer' || blow.do === 'killServer';
    underWay.push(isOnServer ? strikeServer(blow.do, blow.forMs) : victim.suffer(blow));
  }
  await Promise.all(underWay);
  clearInterval(writing);
}

/** The program of Debian's package `faketime`. */
const FAKETIME = 'faketime';

/** The library that `faketime` preloads. Undefined if `faketime` is not installed. */
function faketimeLibrary(): string | undefined {
  try {
    return execFileSync(FAKETIME, ['-m', '-f', '+0', 'printenv', 'LD_PRELOAD'], { encoding: 'utf8' }).trim();
  } catch {
    return undefined;
  }
}

interface Settings {
  readonly seconds: number;
  readonly seed: number;
  readonly farOff: boolean;
  readonly store: StoreName;
  readonly above: boolean;
}

async function run(folder: string, { seconds, seed, farOff, store, above }: Settings): Promise<void> {
  const library = faketimeLibrary();
  console.log(
    above
      ? `chaos above a lock on ${store}: seed ${seed}, ${seconds} s, ${PROCESSES_ABOVE} processes`
      : `chaos on ${store}: seed ${seed}, ${seconds} s, ${PROCESSES} processes, ${KEYS.length} keys; ` +
          (library ? `the clock of process ${BY_FAKETIME} is set by libfaketime` : 'libfaketime is not installed'),
  );
  await using place = await startPlace(store, folder);
  const history = new HistoryWriter(folder, 'nemesis', systemClock);
  history.write({ type: 'place', store, isRecorded: place.url === undefined });
  const handles = join(folder, 'handles');
  mkdirSync(handles);
  const program = fileURLToPath(new URL(above ? './above-worker.ts' : './worker.ts', import.meta.url));
  const stage = { folder, handles, seed, history, place, program };
  const count = above ? PROCESSES_ABOVE : PROCESSES;
  const victims = Array.from(
    { length: count },
    (_, index) => new Victim(stage, index + 1, above ? undefined : library),
  );
  process.on('exit', () => {
    for (const victim of victims) victim.kill();
  });
  for (const victim of victims) await victim.start();
  const clocks = { shifted: SHIFTED, standingStill: STANDING_STILL, farOff };
  // The processes above a lock have the machine's clock.
  const blows = place.blows.filter((blow) => !above || blow !== 'shift');
  await carryOut(planOf(seed, seconds, count, above ? NO_CLOCKS : clocks, blows), victims, stage);
  history.write({ type: 'calm' });
  await Promise.all(victims.map((victim) => victim.close()));
  if (place.url !== undefined && !above) await readCommits(place.url, history);
}

/** Writes down the counters that stand in the records of the locks in the end. */
async function readCommits(url: string, history: HistoryWriter): Promise<void> {
  const { store, close } = await openStore(url);
  const locks = new LockClient({ store });
  for (const key of KEYS) {
    const { committed } = (await locks.inspect(key)) ?? {};
    history.write({ type: 'committed', key, value: (committed?.data as { value: number } | undefined)?.value ?? 0 });
  }
  close();
}

function numberOf(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) {
    throw new TypeError(`--${name} must be a whole number, 1 or more, but it is '${text}'.`);
  }
  return value;
}

const { values } = parseArgs({
  options: {
    seconds: { type: 'string' },
    seed: { type: 'string' },
    'far-off': { type: 'boolean' },
    judge: { type: 'string' },
    store: { type: 'string', default: 'dynamodb' },
    above: { type: 'boolean', default: false },
  },
});
const store = STORE_NAMES.find((name) => name === values.store);
if (store === undefined) {
  throw new TypeError(`--store must be one of ${STORE_NAMES.join(', ')}, but it is '${values.store}'.`);
}
const seconds = numberOf('seconds', values.seconds ?? '60');
const seed = numberOf('seed', values.seed ?? String(1 + Math.floor(Math.random() * 1e9)));
const folder = values.judge ?? mkdtempSync(join(tmpdir(), 'leasehold-chaos-'));
if (values.judge === undefined) {
  await run(folder, { seconds, seed, farOff: values['far-off'] ?? false, store, above: values.above });
}
const history = readHistory(folder);
const judge = () => {
  const checks = check(history);
  return [checks, report(history, checks)] as const;
};
const judgeAbove = () => {
  const verdicts = checkAbove(history);
  return [verdicts, reportAbove(verdicts)] as const;
};
const [verdict, told] = values.above ? judgeAbove() : judge();
console.log(told);
const failed = verdict.filter(({ findings, examined }) => findings.length > 0 || examined === 0).length;
const passed = verdict.length - failed;
if (failed > 0) console.log(`The history is kept: node test/chaos/chaos.ts --judge ${folder}`);
else if (values.judge === undefined) rmSync(folder, { recursive: true });
console.log(`${passed} passed, ${failed} failed`);
if (process.env.TEST_COUNTS) appendFileSync(process.env.TEST_COUNTS, `${passed} ${failed} 0\n`);
process.exitCode = failed > 0 ? 1 : 0;
