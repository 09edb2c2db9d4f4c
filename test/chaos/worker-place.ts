/** The place of the locks, as a process under chaos sees it: the store, and the resource that its work writes to. */
import { randomUUID } from 'node:crypto';
import { openStore } from '../../bin/open-store.ts';
import { hostFiles } from '../../lib/file/files.ts';
import type { Lease, LockStore } from '../../lib/index.ts';
import type { HistoryWriter, Outcome } from './history.ts';
import { oneOf } from './random.ts';

/** A table of locks and a table for the work, or the URL of a store, and for Redis the client's library. */
export type WorkerPlace =
  | { readonly lockTable: string; readonly workTable: string }
  | { readonly url: string; readonly library?: string };

/** The part of the process that the work needs. */
export interface Worker {
  readonly random: () => number;
  readonly history: HistoryWriter;
}

export interface Opened {
  readonly store: LockStore;
  /** Writes to the resource under a lease, and writes down the outcomes. */
  write(lease: Lease): Promise<void>;
  close(): void;
}

export async function openPlace(place: WorkerPlace, worker: Worker): Promise<Opened> {
  // Each process loads what its place needs, and no more: many processes start in a run.
  if ('lockTable' in place) return (await import('./tables.ts')).openTables(place, worker);
  const { store, close } = await openUrl(place);
  return { store, write: (lease) => countByCommit(lease, worker), close };
}

async function openUrl({ url, library }: { url: string; library?: string }) {
  if (library === undefined) return openStore(url);
  const { connectRedis, LIBRARIES } = await import('../../bin/redis-clients.ts');
  const { RedisLockStore } = await import('../../lib/redis.ts');
  const { hostname: host, port } = new URL(url);
  const server = { host, port: Number(port), tls: false, username: undefined, password: undefined, db: 0 };
  const connect = LIBRARIES[library] as (typeof LIBRARIES)[string];
  for (;;) {
    try {
      const { client, close } = await connectRedis(server, { [library]: connect });
      return { store: new RedisLockStore({ client }), close };
    } catch {
      // The network is cut, or the server is down: the process was started in the middle of a blow.
      await sleep(100);
    }
  }
}

/** Adds one to a counter that stands in the record of the lock itself. */
async function countByCommit(lease: Lease, { random, history }: Worker): Promise<void> {
  const { key, fencingToken } = lease;
  const id = randomUUID();
  const value = ((lease.committed as { value: number } | undefined)?.value ?? 0) + 1;
  await sleep(oneOf(random, [0, 10, 100]));
  history.write({ type: 'committing', key, fencingToken, id, value });
  // An error leaves open whether the commit was applied.
  let outcome: Outcome = 'unknown';
  try {
    await lease.commit({ value, id });
    outcome = 'done';
  } catch (error) {
    if (error instanceof TypeError) throw error;
  }
  history.write({ type: 'counted', key, fencingToken, counter: 'guarded', id, outcome });
}

/** Kills the process before or after one of its next steps on the files: in the middle of a write, most of the time. */
export function dieBetweenSteps(random: () => number): void {
  let steps = 1 + Math.floor(random() * 40);
  const step = () => {
    if (--steps === 0) process.kill(process.pid, 'SIGKILL');
  };
  const files = hostFiles as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
  for (const [name, call] of Object.entries(files)) {
    files[name] = async (...args) => {
      step();
      const answer = await call(...args);
      step();
      return answer;
    };
  }
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
