// Taking a free lock and releasing it.
import { type Contender, ownContenders, RAW } from './lib/contenders.ts';
import type { Measure } from './lib/measure.ts';
import { peers } from './lib/peers.ts';
import { requestsOf } from './lib/requests.ts';
import { inRounds } from './lib/rounds.ts';
import { median, quantile, ratio } from './lib/statistics.ts';

let keys = 0;
const newKey = () => `key-${process.pid}-${keys++}`;

/** One round of a contender: the CPU of a cycle, and each cycle's time. */
async function once({ cycle }: Contender, cycles: number): Promise<{ cpuUs: number; times: number[] }> {
  const times: number[] = [];
  const before = process.cpuUsage();
  for (let i = 0; i < cycles; i++) {
    const from = performance.now();
    await cycle(newKey());
    times.push(performance.now() - from);
  }
  const { user, system } = process.cpuUsage(before);
  return { cpuUs: (user + system) / cycles, times };
}

/** A consistent read of the peers is a unit. */
async function requests(contender: Contender): Promise<string> {
  const cycles = 10;
  const { writes, reads } = await requestsOf(async () => {
    for (let i = 0; i < cycles; i++) await contender.cycle(newKey());
  });
  return contender.server ? '-' : `${writes / cycles} + ${reads / cycles}`;
}

export default {
  about: 'A lock that is free is taken and released. CPU is of the client alone; requests are writes + reads.',
  servers: ['dynoxide', 'stub', 'tls'],
  async run({ server, smoke }) {
    const contenders = [...(await ownContenders(await server.table(), { all: true })), ...(await peers(server))];
    const counts = new Map<string, string>();
    for (const contender of contenders) counts.set(contender.name, await requests(contender));
    const cycles = (server.name === 'tls' ? 10 : 25) / (smoke ? 2.5 : 1);
    const rounds = smoke ? { rounds: 5, warmUp: 1 } : { rounds: 40, warmUp: 6 };
    const samples = await inRounds(contenders, rounds, (contender) => once(contender, cycles));
    const series = (name: string) => {
      const all = samples.get(name) ?? [];
      return { cpu: all.map(({ cpuUs }) => cpuUs), p50: all.map(({ times }) => quantile(times, 0.5)), all };
    };
    const raw = series(RAW);
    return contenders.map(({ name }) => {
      const { cpu, p50, all } = series(name);
      return {
        name,
        figures: {
          requests: counts.get(name),
          'CPU, µs': quantile(cpu, 0.5),
          'CPU / raw': ratio(cpu, raw.cpu),
          'p50, ms': median(p50).value,
          'p50 / raw': ratio(p50, raw.p50),
          'p99, ms': quantile(
            all.flatMap(({ times }) => times),
            0.99,
          ),
        },
      };
    });
  },
} satisfies Measure;
