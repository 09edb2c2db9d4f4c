// The import and the first cycle of a bundle, in a fresh process each time.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bundle, programs } from './lib/bundles.ts';
import { inputsOf, OURS, RAW } from './lib/contenders.ts';
import type { Measure } from './lib/measure.ts';
import { inRounds } from './lib/rounds.ts';
import { quantile, ratio } from './lib/statistics.ts';

/** Node finds the SDK from here. */
const CACHE = join(import.meta.dirname, 'node_modules', '.cache');
/** The places of the SDK. Lambda's runtime has the SDK, and so the CDK leaves it out of a bundle by default. */
const PLACES = { 'SDK in the bundle': [], 'SDK in the runtime': ['@aws-sdk/*', '@smithy/*'] };

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
    'A fresh process imports a bundle, and takes and releases its first lock over HTTPS, then another. The SDK is in the ' +
    "bundle, or beside it as in Lambda's runtime, from where the CDK's functions take it by default.",
  servers: ['tls'],
  async run({ smoke }) {
    mkdirSync(CACHE, { recursive: true });
    const folder = mkdtempSync(join(CACHE, 'cold-'));
    const contenders: { name: string; raw: string; script: string }[] = [];
    for (const [place, external] of Object.entries(PLACES)) {
      for (const { name, source } of programs(await inputsOf('locks'))) {
        if (smoke && name !== RAW && !name.startsWith(OURS)) continue;
        const code = await bundle(source, external);
        const file = join(folder, `${contenders.length}.cjs`);
        if (code) contenders.push({ name: `${place}: ${name}`, raw: `${place}: ${RAW}`, script: program(file) });
        if (code) writeFileSync(file, code);
      }
    }
    const start = async ({ script }: { script: string }) =>
      JSON.parse(execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' })) as Start;
    const starts = await inRounds(contenders, smoke ? { rounds: 2 } : { rounds: 15, warmUp: 1 }, start);
    rmSync(folder, { recursive: true });
    const total = (name: string) => (starts.get(name) ?? []).map(({ importMs, cycleMs }) => importMs + cycleMs);
    return contenders.map(({ name, raw }) => {
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
          'both / raw': ratio(total(name), total(raw)),
          'second cycle, ms': middle('nextMs'),
          'CPU, ms': middle('cpuMs'),
          'RSS, MB': middle('rss') / 2 ** 20,
        },
      };
    });
  },
} satisfies Measure;
