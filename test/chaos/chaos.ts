/**
 * `npm run test:chaos -- --seconds 60 --seed 1`: processes share locks, a nemesis disturbs the processes, and a checker
 * judges the history. If the checker finds a fault, the program shows the fault, and exits with 1.
 *
 * The seed makes the plan of the nemesis and the choices of the processes. The processes run on a real machine, so the same
 * seed does not repeat a run. `--far-off` also sets clocks by an hour. `--store redis` or `--store file` has the locks there;
 * a Redis is also killed and started again. `--judge <folder>` judges a history that was kept.
 */
import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openStore } from '../../bin/open-store.ts';
import { LockClient } from '../../lib/index.ts';
import { systemClock } from '../../lib/lease/clock.ts';
import { check } from './checker.ts';
import { HistoryWriter, readHistory, referenceNow } from './history.ts';
import { type Blow, HOUR_MS, planOf, SMALL_OFFSET_MS } from './nemesis.ts';
import { type Network, type Place, STORE_NAMES, type StoreName, startPlace } from './places.ts';
import { between, randomOf } from './random.ts';
import { report } from './report.ts';
import type { WorkerMessage, WorkerOptions } from './worker.ts';

const PROCESSES = 8;
const KEYS = ['k1', 'k2', 'k3', 'k4', 'k5'];
/** The processes whose monotonic clocks stand still while they are frozen. Their wall clocks are never set. */
const STANDING_STILL = [4, 5];
/** The processes whose wall clocks are set while they run. libfaketime sets the second clock, if it is installed. */
const SHIFTED = [6, 7];
const BY_FAKETIME = 7;
/** The process whose wall clock is always an hour behind. */
const AN_HOUR_BEHIND = 8;
/** The time that the undisturbed processes have to do a task for each key and to end. */
const CLOSING_LIMIT_MS = 60_000;
/** The time in which a process that is to die between two steps makes a step, unless it waits for a lock or works. */
const DYING_MS = 2_000;

const program = fileURLToPath(new URL('./worker.ts', import.meta.url));

/** The folder and the place of the locks that all processes share. */
interface Stage {
  readonly folder: string;
  readonly handles: string;
  readonly seed: number;
  readonly history: HistoryWriter;
  readonly place: Place;
}

/** One process under test, through all its lives. */
class Victim {
  readonly number: number;
  readonly #stage: Stage;
  readonly #faketime: { readonly file: string; readonly library: string } | undefined;
  #network!: Network;
  #life = 0;
  #offsetMs: number;
  #child: ChildProcess | undefined;
  #guard: ChildProcess | undefined;
  #closing = false;
  /** The process was told to die between two of its next steps. */
  #isDying = false;

  constructor(stage: Stage, number: number, library: string | undefined) {
    this.#stage = stage;
    this.number = number;
    const littleMs = between(randomOf(stage.seed, number), -SMALL_OFFSET_MS, SMALL_OFFSET_MS);
    this.#offsetMs = number === AN_HOUR_BEHIND ? littleMs - HOUR_MS : littleMs;
    if (library && number === BY_FAKETIME) this.#faketime = { file: join(stage.folder, 'faketime'), library };
  }

  get #name(): string {
    return `${this.number}.${this.#life}`;
  }

  async start(): Promise<void> {
    this.#network ??= await this.#stage.place.connect(this.number);
    this.#setFaketime();
    this.#live();
  }

  #live(): void {
    const { folder, handles, seed, history } = this.#stage;
    const { place, environment } = this.#network;
    this.#life++;
    const name = this.#name;
    const options: WorkerOptions = {
      by: name,
      seed: [seed, this.number, this.#life],
      folder,
      handles,
      place,
      keys: KEYS,
      offsetMs: this.#faketime ? 0 : this.#offsetMs,
      standsStill: STANDING_STILL.includes(this.number),
    };
    const faked = this.#faketime && {
      LD_PRELOAD: this.#faketime.library,
      FAKETIME_TIMESTAMP_FILE: this.#faketime.file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DISABLE_SHM: '1',
      // libfaketime sets the wall clock alone, since the monotonic clock is the reference clock.
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    };
    const child = fork(program, [JSON.stringify(options)], {
      execArgv: [],
      env: { ...process.env, ...environment, ...faked },
    });
    child.on('exit', (code, signal) => {
      if (this.#child !== child) return;
      if (this.#isDying) {
        history.write({ type: 'killed', process: name });
        this.#dismissGuard();
      } else if (this.#closing && code === 0) history.write({ type: 'ended', process: name });
      else history.write({ type: 'crashed', process: name, how: signal ?? `exit code ${code}` });
      this.#child = undefined;
    });
    this.#child = child;
    this.#isDying = false;
  }

  async suffer(blow: Blow): Promise<void> {
    const { history } = this.#stage;
    switch (blow.do) {
      case 'kill':
        if (!(await this.#strikeDead())) return;
        await sleep(blow.forMs);
        this.#live();
        return;
      case 'freeze': {
        const child = this.#child;
        if (!child || this.#guard) return;
        this.#freeze(child);
        await sleep(blow.forMs);
        if (this.#child === child) this.thaw();
        return;
      }
      case 'cut':
      case 'outage':
        history.write({ type: blow.do, process: this.#name });
        if (blow.do === 'cut') this.#network.cut();
        else this.#network.outage();
        await sleep(blow.forMs);
        this.mend();
        return;
      case 'shift':
        this.shift(blow.offsetMs);
        return;
      case 'fault':
        this.#network.fault(blow);
    }
  }

  /** Kills the process: on files between two steps of a write, if one comes soon. Gives false if the process was not alive. */
  async #strikeDead(): Promise<boolean> {
    const child = this.#child;
    if (this.#stage.place.name !== 'file' || !child || this.#guard || this.#isDying) return this.kill();
    this.#isDying = true;
    const exited = once(child, 'exit');
    this.#tell({ do: 'dieBetweenSteps' });
    await Promise.race([exited, sleep(DYING_MS)]);
    if (this.#child === child) return this.kill();
    return this.#child === undefined;
  }

  /** @returns whether the process was alive. */
  kill(): boolean {
    const child = this.#child;
    if (!child) return false;
    this.#child = undefined;
    child.kill('SIGKILL');
    this.#stage.history.write({ type: 'killed', process: this.#name });
    this.#dismissGuard();
    return true;
  }

  #freeze(child: ChildProcess): void {
    // A frozen process cannot see that its channel is closed, and would outlive this program if this program were
    // killed. The guard sees the closed channel, and thaws the process.
    const guard = ['-c', 'read thawed; kill -CONT "$0"', String(child.pid)];
    this.#guard = spawn('sh', guard, { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
    child.kill('SIGSTOP');
    this.#stage.history.write({ type: 'frozen', process: this.#name });
  }

  thaw(): void {
    if (!this.#guard) return;
    this.#stage.history.write({ type: 'thawed', process: this.#name });
    this.#child?.kill('SIGCONT');
    this.#dismissGuard();
  }

  #dismissGuard(): void {
    this.#guard?.stdin?.end('thawed\n');
    this.#guard = undefined;
  }

  mend(): void {
    this.writeFaults();
    this.#network.mend();
    this.#stage.history.write({ type: 'mended', process: this.#name });
  }

  shift(offsetMs: number): void {
    this.#offsetMs = offsetMs;
    this.#stage.history.write({ type: 'shifted', process: this.#name, offsetMs });
    if (this.#faketime) this.#setFaketime();
    else this.#tell({ do: 'setClock', offsetMs });
  }

  #setFaketime(): void {
    if (this.#faketime)
      writeFileSync(this.#faketime.file, `${this.#offsetMs < 0 ? '' : '+'}${this.#offsetMs / 1_000}\n`);
  }

  /** Writes down the requests that met a fault since the last call. */
  writeFaults(): void {
    const toReference = referenceNow() - Date.now();
    for (const { fault, operation, at } of this.#network.takeFaults()) {
      this.#stage.history.write({ type: 'fault', process: this.#name, fault, operation }, at + toReference);
    }
  }

  #tell(message: WorkerMessage): void {
    // A process that is being killed gets no message.
    this.#child?.send(message, () => {});
  }

  /** Lets the process do a task for each key undisturbed, and end. */
  async close(): Promise<void> {
    this.thaw();
    this.mend();
    if (SHIFTED.includes(this.number)) this.shift(0);
    this.#closing = true;
    const tasks = KEYS.map((key) => ({ task: `${this.number} under ${key}`, key }));
    for (const task of tasks) this.#stage.history.write({ type: 'task', ...task });
    const child = this.#child;
    if (child) {
      const ended = once(child, 'exit');
      this.#tell({ do: 'close', tasks });
      await Promise.race([ended, sleep(CLOSING_LIMIT_MS, undefined, { ref: false })]);
      if (this.#child === child)
        this.#stage.history.write({ type: 'crashed', process: this.#name, how: 'does not end' });
      child.kill('SIGKILL');
    }
    this.writeFaults();
    await this.#network.stop();
  }
}

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
}

async function run(folder: string, { seconds, seed, farOff, store }: Settings): Promise<void> {
  const library = faketimeLibrary();
  console.log(
    `chaos on ${store}: seed ${seed}, ${seconds} s, ${PROCESSES} processes, ${KEYS.length} keys; ` +
      (library ? `the clock of process ${BY_FAKETIME} is set by libfaketime` : 'libfaketime is not installed'),
  );
  await using place = await startPlace(store, folder);
  const history = new HistoryWriter(folder, 'nemesis', systemClock);
  history.write({ type: 'place', store, isRecorded: place.url === undefined });
  const handles = join(folder, 'handles');
  mkdirSync(handles);
  const stage = { folder, handles, seed, history, place };
  const victims = Array.from({ length: PROCESSES }, (_, index) => new Victim(stage, index + 1, library));
  process.on('exit', () => {
    for (const victim of victims) victim.kill();
  });
  for (const victim of victims) await victim.start();
  const clocks = { shifted: SHIFTED, standingStill: STANDING_STILL, farOff };
  await carryOut(planOf(seed, seconds, PROCESSES, clocks, place.blows), victims, stage);
  history.write({ type: 'calm' });
  await Promise.all(victims.map((victim) => victim.close()));
  if (place.url !== undefined) await readCommits(place.url, history);
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
  await run(folder, { seconds, seed, farOff: values['far-off'] ?? false, store });
}
const history = readHistory(folder);
const verdict = check(history);
console.log(report(history, verdict));
const failed = verdict.filter(({ findings, examined }) => findings.length > 0 || examined === 0).length;
const passed = verdict.length - failed;
if (failed > 0) console.log(`The history is kept: node test/chaos/chaos.ts --judge ${folder}`);
else if (values.judge === undefined) rmSync(folder, { recursive: true });
console.log(`${passed} passed, ${failed} failed`);
if (process.env.TEST_COUNTS) appendFileSync(process.env.TEST_COUNTS, `${passed} ${failed} 0\n`);
process.exitCode = failed > 0 ? 1 : 0;
