/**
 * `npm run test:simulation:primitives -- --schedules 10000 --seed 1 --only line`: hosts use the primitives above a lock over a
 * bad network, and some hosts are killed, frozen or cut off. If a rule is broken, the program shows the seed, the shrunk
 * schedule and its happenings, and exits with 1. `--replay '<schedule as JSON>'` shows one schedule.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import { Coalesce } from './coalesce.ts';
import { Lead } from './lead.ts';
import { Line } from './line.ts';
import { Permits } from './permits.ts';
import { type Plan, plans } from './plan.ts';
import { Several } from './several.ts';
import { type Primitive, play } from './world.ts';

const primitives: Readonly<Record<string, () => Primitive>> = {
  line: () => new Line(),
  permits: () => new Permits(),
  coalesce: () => new Coalesce(),
  several: () => new Several(),
  lead: () => new Lead(),
};

const { values } = parseArgs({
  options: {
    schedules: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string', multiple: true, default: Object.keys(primitives) },
    replay: { type: 'string' },
  },
});

async function show(primitive: () => Primitive, plan: Plan): Promise<void> {
  const { fault, trace } = await play(primitive, plan, true);
  for (const line of trace) console.log(line);
  console.log(fault === undefined ? 'Nothing is broken.' : `Broken: ${fault}`);
}

async function check(name: string, primitive: () => Primitive): Promise<boolean> {
  if (values.replay !== undefined) {
    await show(primitive, JSON.parse(values.replay));
    return true;
  }
  const started = performance.now();
  let works = 0;
  const property = fc.asyncProperty(plans, async (plan) => {
    const { fault, works: begun } = await play(primitive, plan);
    works += begun;
    if (fault) throw new Error(fault);
  });
  const { failed, counterexample, numRuns } = await fc.check(property, {
    numRuns: Number(values.schedules),
    seed: Number(values.seed),
  });
  const seconds = ((performance.now() - started) / 1_000).toFixed(1);
  if (!failed) {
    console.log(`${name}: ${numRuns} schedules with kills, ${works} works, nothing broken (${seconds} s)`);
    return true;
  }
  const [plan] = counterexample as [Plan];
  await show(primitive, plan);
  console.log(`${name}: broken after ${numRuns} schedules. The schedule:\n${JSON.stringify(plan)}`);
  return false;
}

/** Checks each primitive in a process of its own, as many at a time as there are cores. */
async function checkEach(names: readonly string[]): Promise<boolean[]> {
  const left = [...names];
  const results: boolean[] = [];
  const core = async () => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) {
      const args = ['--schedules', values.schedules, '--seed', values.seed, '--only', name];
      const [code] = await once(fork(import.meta.filename, args, { env: { ...process.env, TEST_COUNTS: '' } }), 'exit');
      results.push(code === 0);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, core));
  return results;
}

const unknown = values.only.find((name) => !Object.hasOwn(primitives, name));
if (unknown !== undefined) {
  throw new TypeError(`No primitive is named ${unknown}. The primitives: ${Object.keys(primitives).join(', ')}.`);
}
if (values.only.length === 1) {
  const [name = ''] = values.only;
  process.exitCode = (await check(name, primitives[name] as () => Primitive)) ? 0 : 1;
} else {
  const results = await checkEach(values.only);
  const failed = results.filter((passed) => !passed).length;
  console.log(`${results.length - failed} passed, ${failed} failed`);
  if (process.env.TEST_COUNTS) appendFileSync(process.env.TEST_COUNTS, `${results.length - failed} ${failed} 0\n`);
  process.exitCode = failed > 0 ? 1 : 0;
}
