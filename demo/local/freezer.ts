import { type ChildProcess, spawn } from 'node:child_process';

/**
 * Freezes a process (SIGSTOP) and thaws it (SIGCONT). While it is frozen, a guard kills it when our own process is gone: a
 * frozen process cannot see that.
 */
export class Freezer {
  readonly #pid: number;
  #guard: ChildProcess | undefined;

  constructor({ pid = 0 }: ChildProcess) {
    this.#pid = pid;
  }

  freeze(): void {
    const guard = ['-c', 'read thawed || kill -KILL "$0"', String(this.#pid)];
    this.#guard = spawn('sh', guard, { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
    process.kill(this.#pid, 'SIGSTOP');
  }

  thaw(): void {
    process.kill(this.#pid, 'SIGCONT');
    this.dismissGuard();
  }

  /** For a process that has ended. */
  dismissGuard(): void {
    this.#guard?.stdin?.end('thawed\n');
    this.#guard = undefined;
  }
}
