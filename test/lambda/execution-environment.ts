import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { Freezer } from '../../demo/local/freezer.ts';
import { findRuntime } from './install.ts';
import { type Invocation, type Outcome, RuntimeApi } from './runtime-api.ts';

export interface InvokeOptions {
  /** After how long Lambda ends it. Default: 20 s. */
  timeoutMs?: number;
  /** Default: a new one. Lambda's own retry of an asynchronous invocation has the first one's. */
  requestId?: string;
}

/**
 * An execution environment: a process of its own with Lambda's own runtime client, which loads a bundled handler and runs
 * it for what its Runtime API hands out. It is killed at an invocation's deadline, and can be frozen between two.
 */
export class ExecutionEnvironment implements AsyncDisposable {
  /** Everything that it wrote. */
  log = '';
  /** How it ended, once it has. */
  readonly exited: Promise<string>;
  readonly #process: ChildProcess;
  readonly #api: RuntimeApi;
  readonly #isMultiConcurrent: boolean;
  #written = Promise.withResolvers<void>();
  readonly #freezer: Freezer;

  private constructor(process: ChildProcess, api: RuntimeApi, isMultiConcurrent: boolean) {
    this.#process = process;
    this.#freezer = new Freezer(process);
    this.#api = api;
    this.#isMultiConcurrent = isMultiConcurrent;
    // 'close' comes when all that it wrote has been read.
    this.exited = once(process, 'close').then(([code, signal]) => signal ?? `exit code ${code}`);
    for (const stream of [process.stdout, process.stderr]) {
      stream?.setEncoding('utf8').on('data', (chunk) => {
        this.log += chunk;
        this.#written.resolve();
        this.#written = Promise.withResolvers();
      });
    }
  }

  /** Starts it, and resolves when it has loaded the handler, or has failed to. */
  static async start(environment: Record<string, string>): Promise<ExecutionEnvironment> {
    const runtime = findRuntime();
    if ('missing' in runtime) throw new Error(runtime.missing);
    const api = new RuntimeApi();
    await api.listen();
    const lambdaProcess = spawn(process.execPath, [runtime.program], {
      cwd: environment.LAMBDA_TASK_ROOT,
      env: { ...environment, AWS_LAMBDA_RUNTIME_API: api.address },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const lambda = new ExecutionEnvironment(lambdaProcess, api, 'AWS_LAMBDA_MAX_CONCURRENCY' in environment);
    await Promise.race([api.idle(), lambda.exited]);
    return lambda;
  }

  /** What it failed with before its first invocation. */
  get initError(): RuntimeApi['initError'] {
    return this.#api.initError;
  }

  /** The objects with a type that the handler logged, in order. */
  // biome-ignore lint/suspicious/noExplicitAny: a handler logs what its test asks for.
  get logged(): any[] {
    // The runtime puts the time and the request before a line, or the whole line into an object.
    const objects = this.log.match(/\{.*\}$/gm)?.map((json) => JSON.parse(json)) ?? [];
    const lines = objects.map(({ message, ...rest }) => (message?.startsWith('{') ? JSON.parse(message) : rest));
    return lines.filter(({ type }) => type !== undefined);
  }

  /** The first object of one of these types that is logged from now on. */
  async logs(...types: string[]): Promise<ExecutionEnvironment['logged'][number]> {
    for (const seen = this.logged.length; ; await this.#written.promise) {
      const found = this.logged.slice(seen).find(({ type }) => types.includes(type));
      if (found) return found;
    }
  }

  /** Gives it an invocation. */
  begin(event: unknown, { timeoutMs = 20_000, requestId = randomUUID() }: InvokeOptions = {}): Invocation {
    const invocation = this.#api.begin({ requestId, event, deadline: Date.now() + timeoutMs });
    let isOver = false;
    const timer = setTimeout(() => {
      isOver = true;
      // Where invocations share a process, Lambda does not stop their code.
      if (!this.#isMultiConcurrent) this.#process.kill('SIGKILL');
    }, timeoutMs);
    void this.exited.then((exited) => invocation.end(isOver ? { timedOut: true } : { exited }));
    void invocation.outcome.then(() => clearTimeout(timer));
    return invocation;
  }

  invoke(event: unknown, options?: InvokeOptions): Promise<Outcome> {
    return this.begin(event, options).outcome;
  }

  /** Resolves when nothing is left to do for it. */
  async idle(): Promise<void> {
    const ended = this.exited.then((how) => {
      throw new Error(`Expected a Lambda that waits, but it ended (${how}):\n${this.log}`);
    });
    await Promise.race([this.#api.idle(), ended]);
  }

  /** What Lambda does when nothing is left to do: nothing in it goes on, no timer and no socket. */
  async freeze(): Promise<void> {
    await this.idle();
    this.#freezer.freeze();
  }

  thaw(): void {
    this.#freezer.thaw();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.exited;
    this.#freezer.dismissGuard();
    await this.#api.stop();
  }
}
