import { type ChildProcess, fork, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Invocation, Message } from './lambda-process.ts';

const program = fileURLToPath(new URL('./lambda-process.ts', import.meta.url));

/** A Lambda that can be invoked, and that things can happen to. */
export class Lambda implements AsyncDisposable {
  readonly number: number;
  readonly #process: ChildProcess;
  readonly #exited: Promise<unknown>;
  #errors = '';
  #isKilled = false;
  #guard: ChildProcess | undefined;

  /** @param logFile where its standard output goes, straight from the process: what is written there survives a SIGKILL. */
  constructor(number: number, environment: Record<string, string>, logFile: string) {
    this.number = number;
    const log = openSync(logFile, 'a');
    this.#process = fork(program, { env: environment, execArgv: [], stdio: ['ignore', log, 'pipe', 'ipc'] });
    closeSync(log);
    this.#exited = once(this.#process, 'exit');
    this.#process.stderr?.on('data', (chunk) => {
      this.#errors += chunk;
    });
  }

  /** Resolves when the handler is loaded. */
  async ready(): Promise<void> {
    await this.#message(({ type }) => type === 'ready');
  }

  get isKilled(): boolean {
    return this.#isKilled;
  }

  /** @returns what the handler responded with; nothing when the Lambda is killed over it. */
  async invoke(event: object, timeoutMs: number): Promise<unknown> {
    const requestId = randomUUID();
    const invocation: Invocation = { requestId, event, deadline: Date.now() + timeoutMs };
    this.#process.send(invocation);
    const answer = await this.#message((message) => 'requestId' in message && message.requestId === requestId);
    if (answer?.type === 'error') throw new Error(`The handler of Lambda ${this.number} failed: ${answer.error}`);
    return answer?.type === 'response' ? answer.response : undefined;
  }

  async kill(): Promise<void> {
    this.#isKilled = true;
    this.#process.kill('SIGKILL');
    await this.#exited;
  }

  freeze(): void {
    // Frozen, it would outlive a demo that is killed: it cannot see that the channel between the two is closed.
    const guard = ['-c', 'read thawed || kill -KILL "$0"', String(this.#process.pid)];
    this.#guard = spawn('sh', guard, { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
    this.#process.kill('SIGSTOP');
  }

  thaw(): void {
    this.#process.kill('SIGCONT');
    this.#dismissGuard();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    this.#dismissGuard();
  }

  #dismissGuard(): void {
    this.#guard?.stdin?.end('thawed\n');
    this.#guard = undefined;
  }

  /** The first message of a kind; undefined when the process is killed before it comes. */
  #message(isAwaited: (message: Message) => boolean): Promise<Message | undefined> {
    return new Promise((resolve, reject) => {
      this.#process.on('message', (message: Message) => {
        if (isAwaited(message)) resolve(message);
      });
      this.#process.on('exit', (code, signal) => {
        if (this.#isKilled) resolve(undefined);
        else
          reject(new Error(`Lambda ${this.number} ended (${signal ?? `exit code ${code}`}). ${this.#errors}`.trim()));
      });
    });
  }
}
