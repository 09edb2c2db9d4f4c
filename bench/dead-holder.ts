// A holder dies: nobody renews or releases its lock.
import { setTimeout as sleep } from 'node:timers/promises';
import { type Contender, ownContenders } from './lib/contenders.ts';
import type { Measure } from './lib/measure.ts';
import { peers } from './lib/peers.ts';
import { median } from './lib/statistics.ts';

const LEASE_MS = 2_000;
const KEYS = 10;

async function taken({ die, wait }: Contender, key: string): Promise<number> {
  await die?.(key, LEASE_MS);
  const from = performance.now();
  await (await wait?.(key))?.();
  return performance.now() - from;
}

export default {
  about: 'A holder dies right after it took a lease of 2,000 ms. From then on: another one that waits has the lock.',
  servers: ['dynoxide'],
  async run({ server }) {
    const all = [...(await ownContenders(await server.table())), ...(await peers(server))];
    const contenders = all.filter(({ name, die }) => die && !name.startsWith('bare'));
    return await Promise.all(
      contenders.map(async (contender) => {
        const times = Array.from({ length: KEYS }, async (_, i) => {
          await sleep(i * 37);
          return taken(contender, `dead-${i}`);
        });
        return { name: contender.name, figures: { 'taken after, ms': median(await Promise.all(times)) } };
      }),
    );
  },
} satisfies Measure;
