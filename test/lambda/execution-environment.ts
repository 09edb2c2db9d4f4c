import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { Freezer } from '../../demo/local/freezer.ts';
import { findRuntime } from './install.ts';
import { type Invocation, type Outcome, RuntimeApi } from './runtime-api.ts';

export interface InvokeOptions {
  /**
   * The function's time-out.
   * @default 20_000
   */
  timeoutMs?: number;
  /**
   * The request's id. Lambda's own retry of an asynchronous invocation has the id of the first try.
   * @default a new id
   */
  requestId?: string;
}

/**
 * An execution environment with Lambda's own runtime client, in a process of its own. The client loads a bundled handler, and
 * runs the handler for the invocations of its Runtime API. The process is killed at an invocation's deadline, and can be
 * frozen between two invocations. (The demo's `Lambda` needs no build: it calls the handler without the runtime client.)
 */
export class ExecutionEnvironment implements AsyncDisposable {
  /** The output of the process. */
  log = '';
  /** Resolves at the end of the process, with its signal or exit code. */
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
    // 'close' comes when all output has been read.
    this.exited = once(process, 'close').then(([code, signal]) => signal ?? `exit code ${code}`);
    for (const stream of [process.stdout, process.stderr]) {
      stream?.setEncoding('utf8').on('data', (chunk) => {
        this.log += chunk;
        this.#written.resolve();
        this.#written = Promise.withResolvers();
      });
    }
  }

  /** Starts an environment, and resolves when the handler is loaded, or has failed to load. */
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

  /** The error that ended the init. */
  get initError(): RuntimeApi['initError'] {
    return this.#api.initError;
  }

  /** The objects with a type that the handler logged, in order. */
  // biome-ignore lint/suspicious/noExplicitAny: a handler logs what its test asks for.
  get logged(): any[] {
    // The runtime writes the time and the request before a line, or puts the line into an object.
    const objects = this.log.match(/\{.*\}$/gm)?.map((json) => JSON.parse(json)) ?? [];
    const lines = objects.map(({ message, ...rest }) => (message?.startsWith('{') ? JSON.parse(message) : rest));
    return lines.filter(({ type }) => type !== undefined);
  }

  /** Resolves with the first object of one of these types that is logged from now on. */
  async logs(...types: string[]): Promise<ExecutionEnvironment['logged'][number]> {
    for (const seen = this.logged.length; ; await this.#written.promise) {
      const found = this.logged.slice(seen).find(({ type }) => types.includes(type));
      if (found) return found;
    }
  }

  /** Gives the environment an invocation. */
  begin(event: unknown, { timeoutMs = 20_000, requestId = randomUUID() }: InvokeOptions = {}): Invocation {
    const invocation = this.#api.begin({ requestId, event, deadline: Date.now() + timeoutMs });
    let isOver = false;
    const timer = setTimeout(() => {
      isOver = true;
      // If invocations share a process, Lambda does not stop their code.
      if (!this.#isMultiConcurrent) this.#process.kill('SIGKILL');
    }, timeoutMs);
    void this.exited.then((exited) => invocation.end(isOver ? { timedOut: true } : { exited }));
    void invocation.outcome.then(() => clearTimeout(timer));
    return invocation;
  }

  invoke(event: unknown, options?: InvokeOptions): Promise<Outcome> {
    return this.begin(event, options).outcome;
  }

  /** Resolves when the environment has nothing left to do. */
  async idle(): Promise<void> {
    const ended = this.exited.then((how) => {
      throw new Error(`Expected a Lambda that waits, but it ended (${how}):\n${this.log}`);
    });
    await Promise.race([this.#api.idle(), ended]);
  }

  /** Freezes the environment when it has nothing left to do, as Lambda does: no timer and no socket goes on. */
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
