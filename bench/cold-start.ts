// The import and the first cycle of a bundle, in a fresh process each time.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundle, programs } from './lib/bundles.ts';
import { inputsOf, OURS, RAW } from './lib/contenders.ts';
import type { Measure } from './lib/measure.ts';
import { inRounds } from './lib/rounds.ts';
import { quantile, ratio } from './lib/statistics.ts';

interface Start {
  readonly importMs: number;
  readonly cycleMs: number;
  readonly nextMs: number;
  readonly cpuMs: number;
  readonly rss: number;
}

const program = (file: string) => `
  (async () => {
    const cpu = process.cpuUsage();
    const from = performance.now();
    const { cycle } = require(${JSON.stringify(file)});
    const imported = performance.now();
    await cycle('first-' + process.pid);
    const first = performance.now();
    const { user, system } = process.cpuUsage(cpu);
    const rss = process.memoryUsage.rss();
    await cycle('next-' + process.pid);
    const nextMs = performance.now() - first;
    const figures = { importMs: imported - from, cycleMs: first - imported, nextMs, cpuMs: (user + system) / 1e3, rss };
    console.log(JSON.stringify(figures));
    process.exit();
  })();`;

export default {
  about:
    'A fresh process imports a bundle, and takes and releases its first lock over HTTPS, then another. The SDK is inside the bundles of the contenders that need it.',
  servers: ['tls'],
  async run({ smoke }) {
    const folder = mkdtempSync(join(tmpdir(), 'leasehold-cold-'));
    const contenders: { name: string; script: string }[] = [];
    for (const { name, source } of programs(await inputsOf('locks'))) {
      // The CDK leaves the SDK out of a bundle, since Lambda has the SDK. The others need the SDK, and start faster with it
      // inside.
      const ways = name.startsWith(OURS) ? { '': ['@aws-sdk/*'], ', the SDK inside': [] } : { '': [] };
      for (const [way, external] of Object.entries(ways)) {
        const code = await bundle(source, external);
        const file = join(folder, `${contenders.length}.cjs`);
        if (code) contenders.push({ name: name + way, script: program(file) });
        if (code) writeFileSync(file, code);
      }
    }
    const start = async ({ script }: { script: string }) =>
      JSON.parse(execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' })) as Start;
    const starts = await inRounds(contenders, smoke ? { rounds: 3 } : { rounds: 25, warmUp: 2 }, start);
    rmSync(folder, { recursive: true });
    const total = (name: string) => (starts.get(name) ?? []).map(({ importMs, cycleMs }) => importMs + cycleMs);
    return contenders.map(({ name }) => {
      const middle = (of: keyof Start) =>
        quantile(
          (starts.get(name) ?? []).map((each) => each[of]),
          0.5,
        );
      return {
        name,
        figures: {
          'import, ms': middle('importMs'),
          'first cycle, ms': middle('cycleMs'),
          'both / raw': ratio(total(name), total(RAW)),
          'second cycle, ms': middle('nextMs'),
          'CPU, ms': middle('cpuMs'),
          'RSS, MB': middle('rss') / 2 ** 20,
        },
      };
    });
  },
} satisfies Measure;
