// A try that finds the lock held by somebody else.
import { type Contender, ownContenders, RAW } from './lib/contenders.ts';
import type { Measure } from './lib/measure.ts';
import { peers } from './lib/peers.ts';
import { requestsOf } from './lib/requests.ts';
import { inRounds } from './lib/rounds.ts';
import { quantile, ratio } from './lib/statistics.ts';

const TRIES = 25;
const KEY = 'busy';

async function once({ name, take }: Contender): Promise<{ cpuUs: number; p50: number }> {
  const times: number[] = [];
  const before = process.cpuUsage();
  for (let i = 0; i < TRIES; i++) {
    const from = performance.now();
    if (await take?.(KEY)) throw new Error(`${name} took a lock that is held.`);
    times.push(performance.now() - from);
  }
  const { user, system } = process.cpuUsage(before);
  return { cpuUs: (user + system) / TRIES, p50: quantile(times, 0.5) };
}

export default {
  about: 'A try that finds the lock held. Requests are writes + reads; a refused write costs as much as any.',
  servers: ['dynoxide'],
  async run({ server, smoke }) {
    const own = await ownContenders(await server.table());
    const contenders = [...own, ...(await peers(server))].filter(({ take }) => take);
    await own.find(({ name }) => name === RAW)?.die?.(KEY, 600_000);
    for (const contender of contenders.filter((each) => !own.includes(each))) await contender.take?.(KEY);
    const counts = new Map<string, string>();
    for (const { name, take, server } of contenders) {
      const { writes, reads } = await requestsOf(async () => take?.(KEY));
      counts.set(name, server ? '-' : `${writes} + ${reads}`);
    }
    const samples = await inRounds(contenders, smoke ? { rounds: 4, warmUp: 2 } : { rounds: 40, warmUp: 10 }, once);
    const series = (name: string, of: 'cpuUs' | 'p50') => (samples.get(name) ?? []).map((sample) => sample[of]);
    return contenders.map(({ name }) => ({
      name,
      figures: {
        requests: counts.get(name),
        'CPU, µs': quantile(series(name, 'cpuUs'), 0.5),
        'CPU / raw': ratio(series(name, 'cpuUs'), series(RAW, 'cpuUs')),
        'p50, ms': quantile(series(name, 'p50'), 0.5),
        'p50 / raw': ratio(series(name, 'p50'), series(RAW, 'p50')),
      },
    }));
  },
} satisfies Measure;
