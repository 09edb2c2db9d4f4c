/** One process under test, through all its lives, and the blows that it suffers. */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type HistoryWriter, referenceNow } from './history.ts';
import { type Blow, HOUR_MS, SMALL_OFFSET_MS } from './nemesis.ts';
import type { Network, Place } from './places.ts';
import { between, randomOf } from './random.ts';
import type { WorkerMessage, WorkerOptions } from './worker.ts';

export const KEYS = ['k1', 'k2', 'k3', 'k4', 'k5'];
/** The processes whose monotonic clocks stand still while they are frozen. Their wall clocks are never set. */
export const STANDING_STILL = [4, 5];
/** The processes whose wall clocks are set while they run. libfaketime sets the second clock, if it is installed. */
export const SHIFTED = [6, 7];
export const BY_FAKETIME = 7;
/** The process whose wall clock is always an hour behind. */
const AN_HOUR_BEHIND = 8;
/** The time that the undisturbed processes have to do a task for each key and to end. */
const CLOSING_LIMIT_MS = 60_000;
/** The time in which a process that is to die between two steps makes a step, unless it waits for a lock or works. */
const DYING_MS = 2_000;

/** The folder and the place of the locks that all processes share. */
export interface Stage {
  readonly folder: string;
  readonly handles: string;
  readonly seed: number;
  readonly history: HistoryWriter;
  readonly place: Place;
  /** The program of the processes. */
  readonly program: string;
}

export class Victim {
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
    const { folder, handles, seed, history, program } = this.#stage;
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
      if (this.#isDying && signal === 'SIGKILL') {
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
    if (this.#isDying) return false;
    if (this.#stage.place.name !== 'file' || !child || this.#guard) return this.kill();
    this.#isDying = true;
    const exited = once(child, 'exit');
    this.#tell({ do: 'dieBetweenSteps' });
    await Promise.race([exited, sleep(DYING_MS)]);
    return this.#child === undefined || this.kill();
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
