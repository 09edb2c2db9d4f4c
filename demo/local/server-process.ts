import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Program } from './servers.ts';

/** The longest that a server may take until it answers. */
const START_LIMIT_MS = 20_000;

/** A server that runs under a watchdog. It does not keep our process alive, and ends with our process, however that ends. */
export class ServerProcess {
  readonly pid: number;
  readonly port: number;
  readonly #watchdog: ChildProcess;

  private constructor(watchdog: ChildProcess, pid: number, port: number) {
    this.#watchdog = watchdog;
    this.pid = pid;
    this.port = port;
    // Should the watchdog be killed, we take its place.
    watchdog.on('exit', (_code, signal) => {
      if (signal) kill(pid);
    });
    watchdog.unref();
    watchdog.channel?.unref();
    for (const stream of [watchdog.stdout, watchdog.stderr]) (stream as { unref?(): void } | null)?.unref?.();
  }

  /** Starts a program on a free port, and on another one if somebody took the port before the program did. */
  static async start(name: string, program: Program): Promise<ServerProcess> {
    const startedAt = performance.now();
    for (;;) {
      const port = await freePort();
      const watchdog = fork(
        fileURLToPath(new URL('./watchdog.ts', import.meta.url)),
        [program.command, ...program.args(port)],
        // Detached: a Ctrl-C in the terminal is for the program that uses the server, which may need it to finish.
        {
          detached: true,
          execArgv: [],
          env: { ...process.env, NODE_OPTIONS: '' },
          stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
        },
      );
      const pid = once(watchdog, 'message').then(([pid]) => pid as number);
      let output = '';
      for (const stream of [watchdog.stdout, watchdog.stderr]) {
        stream?.on('data', (chunk) => {
          output = (output + chunk).slice(-4_096);
        });
      }
      while (isRunning(watchdog) && performance.now() - startedAt < START_LIMIT_MS) {
        if (await program.isReady(port, output)) return new ServerProcess(watchdog, await pid, port);
        await sleep(5);
      }
      const gaveUp = isRunning(watchdog);
      await end(watchdog);
      if (gaveUp || !/in use|failed to bind/i.test(output)) {
        const what = gaveUp ? `did not answer within ${START_LIMIT_MS / 1000} s` : 'ended at once';
        throw new Error(
          `Expected ${name} to answer on port ${port}, but it ${what}. Its command and output:\n` +
            `${program.command} ${program.args(port).join(' ')}\n${output}`,
        );
      }
    }
  }

  /** Ends the server, a suspended one too. */
  end(): Promise<void> {
    return end(this.#watchdog);
  }
}

/** Ends a watchdog in the way that our own death would, and waits until its server is gone. */
async function end(watchdog: ChildProcess): Promise<void> {
  if (!isRunning(watchdog)) return;
  watchdog.ref();
  const exited = once(watchdog, 'exit');
  if (watchdog.connected) watchdog.disconnect();
  await exited;
  watchdog.stdout?.destroy();
  watchdog.stderr?.destroy();
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

/** Finds a port of this machine that is free at this moment. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
