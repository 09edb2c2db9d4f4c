import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';

/** A moment in the life of a candidate, as its process told it: milliseconds since the epoch. */
interface Told {
  readonly type: 'standsBy' | 'begins' | 'ends';
  readonly at: number;
  readonly fencingToken?: number;
}

/** A candidate for the lead in a process of its own, which ends with this process. */
export class CandidateProcess {
  readonly told: Told[] = [];
  readonly #child: ChildProcess;

  /** @param place the name of a table, or the absolute path of a folder. */
  constructor(place: string, leaseMs: number) {
    // The bench makes its own process look as on Lambda, where nobody leads.
    const { AWS_LAMBDA_FUNCTION_NAME: _, ...env } = process.env;
    const args = [place, String(leaseMs)];
    this.#child = fork(new URL('leader.ts', import.meta.url), args, {
      execArgv: ['--disable-warning=ExperimentalWarning'],
      env,
    });
    this.#child.on('message', (told: Told) => this.told.push(told));
  }

  /** Waits until the process has told of such a moment. */
  async when(type: Told['type']): Promise<number> {
    for (;;) {
      const found = this.told.find((told) => told.type === type);
      if (found) return found.at;
      const heard = new AbortController();
      const { signal } = heard;
      try {
        await Promise.race([once(this.#child, 'message', { signal }), this.#ended(signal)]);
      } finally {
        heard.abort();
      }
    }
  }

  /** Sends the signal. Gives the moment of the sending. */
  kill(signal: 'SIGTERM' | 'SIGKILL'): number {
    this.#child.kill(signal);
    return Date.now();
  }

  async #ended(signal: AbortSignal): Promise<never> {
    const [code] = await once(this.#child, 'exit', { signal });
    throw new Error(`The process of a candidate ended with ${code}. It had told: ${JSON.stringify(this.told)}.`);
  }
}
