import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Freezer } from './freezer.ts';
import type { Invocation, Message } from './lambda-process.ts';

const program = fileURLToPath(new URL('./lambda-process.ts', import.meta.url));

export interface LambdaOptions {
  /** The environment variables, as of `lambdaEnvironment`. */
  readonly environment: Record<string, string>;
  /** The function's time-out. */
  readonly timeoutMs: number;
  /**
   * A file for the process's standard output. The process writes to the file itself, so that the file survives a SIGKILL.
   * @default none: the output is in `log`
   */
  readonly logFile?: string;
}

/** A Lambda in a process of its own, that can be invoked, killed and frozen. */
export class Lambda implements AsyncDisposable {
  readonly functionName: string;
  /** Resolves when the handler is loaded. */
  readonly ready: Promise<unknown>;
  /** The output that is not in the log file. */
  log = '';
  /** True between two invocations of a process that has not died. */
  isIdle = true;
  #isKilled = false;
  readonly #timeoutMs: number;
  readonly #process: ChildProcess;
  readonly #exited: Promise<unknown>;
  readonly #died: Promise<never>;
  readonly #freezer: Freezer;

  constructor({ environment, timeoutMs, logFile }: LambdaOptions) {
    this.functionName = environment.AWS_LAMBDA_FUNCTION_NAME ?? '';
    this.#timeoutMs = timeoutMs;
    const output = logFile === undefined ? 'pipe' : openSync(logFile, 'a');
    this.#process = fork(program, {
      cwd: environment.LAMBDA_TASK_ROOT,
      env: environment,
      execArgv: [],
      stdio: ['ignore', output, 'pipe', 'ipc'],
    });
    if (output !== 'pipe') closeSync(output);
    this.#freezer = new Freezer(this.#process);
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream?.on('data', (chunk) => {
        this.log += chunk;
      });
    }
    this.#exited = once(this.#process, 'exit');
    this.#died = once(this.#process, 'exit').then(([code, signal]) => {
      throw new Error(`${this.functionName} ended (${signal ?? `exit code ${code}`}). ${this.log}`.trim());
    });
    // Nobody need be waiting when it dies.
    this.#died.catch(() => {});
    this.ready = this.#message(({ type }) => type === 'ready');
  }

  get isKilled(): boolean {
    return this.#isKilled;
  }

  /**
   * Runs the handler for an event.
   * @returns the handler's response
   * @throws Error when the handler throws, with the handler's stack, or when the process ends before it responds.
   */
  async invoke(event: unknown): Promise<Record<string, unknown>> {
    const requestId = randomUUID();
    const invocation: Invocation = { requestId, event, deadline: Date.now() + this.#timeoutMs };
    this.isIdle = false;
    this.#process.send(invocation);
    const answer = await this.#message((message) => 'requestId' in message && message.requestId === requestId);
    this.isIdle = true;
    if (answer.type === 'error') throw new Error(`The handler of ${this.functionName} failed: ${answer.error}`);
    return (answer.type === 'response' ? answer.response : {}) as Record<string, unknown>;
  }

  /** Parses the lines of the log that are JSON and have a property. */
  printed(property: string): Record<string, unknown>[] {
    const lines = this.log.split('\n').filter((line) => line.startsWith('{') && line.endsWith('}'));
    return lines.map((line) => JSON.parse(line)).filter((line) => property in line);
  }

  /** Resolves when the log has a line of JSON with a property. */
  async hasPrinted(property: string): Promise<Record<string, unknown>> {
    for (;;) {
      const [line] = this.printed(property);
      if (line) return line;
      await Promise.race([once(this.#process.stdout as NodeJS.ReadableStream, 'data'), this.#died]);
    }
  }

  /** Ends the process at once (SIGKILL). */
  async kill(): Promise<void> {
    this.#isKilled = true;
    this.#process.kill('SIGKILL');
    await this.#exited;
    this.#freezer.dismissGuard();
  }

  freeze(): void {
    this.#freezer.freeze();
  }

  thaw(): void {
    this.#freezer.thaw();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }

  /** Waits for the first message of a kind. */
  #message(isAwaited: (message: Message) => boolean): Promise<Message> {
    let listen: (message: Message) => void = () => {};
    const arrived = new Promise<Message>((resolve) => {
      listen = (message) => {
        if (isAwaited(message)) resolve(message);
      };
      this.#process.on('message', listen);
    });
    return Promise.race([arrived, this.#died]).finally(() => this.#process.off('message', listen));
  }
}
