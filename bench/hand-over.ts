// A lock passes from its holder to those who wait.
import { setTimeout as sleep } from 'node:timers/promises';
import { type Contender, ownContenders } from './lib/contenders.ts';
import type { Measure } from './lib/measure.ts';
import { peers } from './lib/peers.ts';
import { requestsOf } from './lib/requests.ts';
import { median } from './lib/statistics.ts';

let keys = 0;

interface HandOver {
  /** From the release to the first waiter's grant, and until each waiter had its turn. */
  readonly firstMs: number;
  readonly allMs: number;
}

/** Each waiter holds the lock for a moment only. */
async function handOver({ take, wait }: Contender, heldMs: number, waiters: number): Promise<HandOver> {
  const key = `hand-over-${keys++}`;
  const release = await take?.(key);
  let first = 0;
  const waiting = Array.from({ length: waiters }, async () => {
    const next = await wait?.(key);
    first ||= performance.now();
    await next?.();
  });
  await sleep(heldMs);
  const from = performance.now();
  await release?.();
  await Promise.all(waiting);
  return { firstMs: first - from, allMs: performance.now() - from };
}

export default {
  about:
    'A holder releases a lock after 50, 500 or 5,000 ms, for which 1, 10 or 100 wait in one process. From the release: ' +
    'the first waiter has the lock, and each has had it. Requests are writes + reads of a waiter.',
  servers: ['dynoxide'],
  async run({ server, smoke }) {
    const all = [...(await ownContenders(await server.table())), ...(await peers(server))];
    // Bare HTTP waits as raw calls do.
    const contenders = all.filter(({ name, wait }) => wait && !name.startsWith('bare'));
    const sizes = smoke
      ? ([
          [50, 1],
          [500, 10],
        ] as const)
      : [50, 500, 5_000].flatMap((ms) => [1, 10, 100].map((n) => [ms, n] as const));
    const rows = [];
    for (const [heldMs, waiters] of sizes) {
      // Few waiters need little CPU, so that many keys are handed over side by side.
      const sideBySide = smoke ? 1 : ({ 1: 10, 10: 3 }[waiters] ?? 1);
      for (const contender of contenders) {
        const holder = await requestsOf(() => contender.cycle(`hand-over-${keys++}`));
        const overs: HandOver[] = [];
        const counts = await requestsOf(async () => {
          const runs = Array.from({ length: sideBySide }, async (_, i) => {
            // Apart by a part of a poll, so that not all releases meet the same phase.
            await sleep(i * 37);
            overs.push(await handOver(contender, heldMs, waiters));
          });
          await Promise.all(runs);
        });
        const each = (kind: 'writes' | 'reads') => ((counts[kind] / sideBySide - holder[kind]) / waiters).toFixed(1);
        rows.push({
          name: `${heldMs.toLocaleString('en-US')} ms, ${waiters} waiting: ${contender.name}`,
          figures: {
            'first, ms': median(overs.map(({ firstMs }) => firstMs)),
            'all, ms': median(overs.map(({ allMs }) => allMs)),
            'requests of a waiter': contender.server ? '-' : `${each('writes')} + ${each('reads')}`,
          },
        });
      }
    }
    return rows;
  },
} satisfies Measure;
