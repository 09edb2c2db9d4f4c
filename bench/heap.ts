// The bytes of heap that a cycle allocates. Node starts with a young generation that is never full, so that nothing is
// collected meanwhile.
import { type Contender, ownContenders, RAW } from './lib/contenders.ts';
import type { Measure } from './lib/measure.ts';
import { peers } from './lib/peers.ts';
import { inRounds } from './lib/rounds.ts';
import { median, ratio } from './lib/statistics.ts';

const CYCLES = 30;
let keys = 0;

async function allocated({ cycle }: Contender): Promise<number> {
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < CYCLES; i++) await cycle(`heap-${keys++}`);
  return (process.memoryUsage().heapUsed - before) / CYCLES;
}

export default {
  about: 'Bytes of heap that a cycle allocates.',
  servers: ['stub'],
  execArgv: ['--expose-gc', '--min-semi-space-size=128', '--max-semi-space-size=128'],
  async run({ server, smoke }) {
    const contenders = [
      ...(await ownContenders(await server.table(), { all: true })),
      ...(smoke ? [] : await peers(server)),
    ];
    const rounds = smoke ? { rounds: 2, warmUp: 1 } : { rounds: 20, warmUp: 10 };
    const bytes = await inRounds(contenders, rounds, allocated);
    return contenders.map(({ name }) => {
      const all = bytes.get(name) ?? [];
      return { name, figures: { bytes: median(all).value, 'bytes / raw': ratio(all, bytes.get(RAW) ?? []) } };
    });
  },
} satisfies Measure;
