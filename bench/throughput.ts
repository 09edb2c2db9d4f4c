// Many cycles at once in one process.
import { type Contender, ownContenders, RAW } from './lib/contenders.ts';
import type { Measure } from './lib/measure.ts';
import { peers } from './lib/peers.ts';
import { inRounds } from './lib/rounds.ts';
import { type Figure, median, ratio } from './lib/statistics.ts';

let keys = 0;

/** The cycles a second, with so many under way at all times. */
async function rate({ cycle }: Contender, atOnce: number, cycles: number): Promise<number> {
  let left = cycles;
  const from = performance.now();
  const worker = async () => {
    while (left-- > 0) await cycle(`many-${process.pid}-${keys++}`);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return (1_000 * cycles) / (performance.now() - from);
}

export default {
  about: 'Cycles a second in one process, with 1, 32 and 256 under way.',
  servers: ['dynoxide', 'stub'],
  async run({ server, smoke }) {
    const contenders = [...(await ownContenders(await server.table())), ...(smoke ? [] : await peers(server))];
    const figures = new Map(contenders.map(({ name }) => [name, {} as Record<string, Figure | number>]));
    for (const atOnce of smoke ? [32] : [1, 32, 256]) {
      const cycles = Math.max(smoke ? 50 : 80, atOnce);
      const rounds = smoke ? { rounds: 3, warmUp: 1 } : { rounds: 8, warmUp: 1 };
      const rates = await inRounds(contenders, rounds, (contender) => rate(contender, atOnce, cycles));
      for (const { name } of contenders) {
        const [all, raw] = [rates.get(name) ?? [], rates.get(RAW) ?? []];
        Object.assign(figures.get(name) ?? {}, {
          [`${atOnce} at once, 1/s`]: median(all).value,
          [`${atOnce} / raw`]: ratio(all, raw),
        });
      }
    }
    return contenders.map(({ name }) => ({ name, figures: figures.get(name) ?? {} }));
  },
} satisfies Measure;
