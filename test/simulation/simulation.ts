/**
 * `npm run test:simulation -- --schedules 80000 --seed 1`: hosts share a lock, a store and a bad network, under one
 * virtual clock. The program checks the invariants after every happening. If an invariant is broken, the program shows
 * the seed, the shrunk schedule and its happenings, and exits with 1.
 *
 * The schedules that failed once stand in `regressions.ts`, and run first. `--replay '<schedule as JSON>'` shows one
 * schedule.
 */
import { appendFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import fc from 'fast-check';
import { regressions } from './regressions.ts';
import { run } from './run.ts';
import { type Schedule, schedules } from './schedule.ts';

/** The number of schedules for each seed of fast-check. */
const BATCH = 1_000;
/** Each schedule is run on a server that judges (`swaps: false`) and on objects that hosts swap. */
const FORMS = [false, true];
/** The number of schedules between two lines of progress. */
const PROGRESS = 50_000;

/** The result of a batch, which a worker sends. */
interface Report {
  readonly seed: number;
  readonly ran: number;
  readonly failed?: { readonly path: string; readonly schedule: Schedule };
}

/** Runs a schedule on a server that judges, and on objects that hosts swap. Gives the form that broke an invariant first. */
async function faultOf(schedule: Schedule): Promise<{ fault: string; schedule: Schedule } | undefined> {
  for (const swaps of FORMS) {
    const form = { ...schedule, swaps };
    const { fault } = await run(form);
    if (fault !== undefined) return { fault, schedule: form };
  }
  return undefined;
}

async function runBatch(seed: number, numRuns: number): Promise<Report> {
  const property = fc.asyncProperty(schedules, async (schedule) => {
    const found = await faultOf(schedule);
    if (found) throw new Error(found.fault);
  });
  const details = await fc.check(property, { seed, numRuns });
  if (!details.failed) return { seed, ran: details.numRuns };
  const [schedule] = details.counterexample as [Schedule];
  const found = await faultOf(schedule);
  const failed = { path: details.counterexamplePath ?? '', schedule: found?.schedule ?? schedule };
  return { seed, ran: details.numRuns, failed };
}

async function show(schedule: Schedule): Promise<boolean> {
  const { fault, trace = [] } = await run(schedule, true);
  for (const line of trace) console.log(line);
  console.log(fault === undefined ? 'No invariant is broken.' : `Broken: ${fault}`);
  return fault === undefined;
}

async function runRegressions(): Promise<number> {
  let failed = 0;
  for (const { name, schedule } of regressions) {
    const found = await faultOf(schedule);
    if (found === undefined) continue;
    failed++;
    console.log(`It is back: ${name}`);
    await show(found.schedule);
  }
  console.log(`${regressions.length - failed} of ${regressions.length} schedules that failed once pass.`);
  return failed;
}

/** Gives the batches to a thread for each core, until a batch fails. */
async function runAll(total: number, firstSeed: number): Promise<{ ran: number; failure?: Report }> {
  const batches = Math.ceil(total / BATCH);
  let next = 0;
  let ran = 0;
  let failure: Report | undefined;
  const thread = () =>
    new Promise<void>((resolve, reject) => {
      const worker = new Worker(new URL(import.meta.url), { workerData: 'batches' });
      const give = () => {
        if (next === batches || failure) return void worker.terminate();
        worker.postMessage({ seed: firstSeed + next, numRuns: Math.min(BATCH, total - next * BATCH) });
        next++;
      };
      worker.on('message', (report: Report) => {
        const shown = Math.floor(ran / PROGRESS);
        ran += report.ran;
        if (Math.floor(ran / PROGRESS) > shown && ran < total) console.log(`${ran} of ${total} schedules`);
        if (report.failed && (failure === undefined || report.seed < failure.seed)) failure = report;
        give();
      });
      worker.on('error', reject);
      worker.on('exit', () => resolve());
      give();
    });
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), batches) }, thread));
  return { ran, ...(failure && { failure }) };
}

async function main(): Promise<boolean> {
  const { values } = parseArgs({
    options: {
      schedules: { type: 'string', default: '80000' },
      seed: { type: 'string', default: '1' },
      replay: { type: 'string' },
    },
  });
  if (values.replay !== undefined) return show(JSON.parse(values.replay));
  const [total, seed] = [Number(values.schedules), Number(values.seed)];
  if (!(Number.isInteger(total) && total > 0 && Number.isInteger(seed))) {
    throw new TypeError(
      `--schedules and --seed must be whole numbers, but they are ${values.schedules}, ${values.seed}.`,
    );
  }

  const started = performance.now();
  const broken = await runRegressions();
  const { ran, failure } = await runAll(total, seed);
  const seconds = ((performance.now() - started) / 1_000).toFixed(1);
  if (failure?.failed) {
    const { path, schedule } = failure.failed;
    console.log(`After ${failure.ran} schedules of seed ${failure.seed} (path ${path}) an invariant is broken.`);
    await show(schedule);
    console.log(`The schedule, for regressions.ts once it is mended:\n${JSON.stringify(schedule)}`);
  }
  const last = seed + Math.ceil(total / BATCH) - 1;
  console.log(
    `${ran} schedules, seeds ${seed} to ${last}, ${seconds} s: ${failure ? 'FAILED' : 'no invariant is broken'}.`,
  );

  const failed = broken + (failure ? 1 : 0);
  const passed = regressions.length + 1 - failed;
  if (process.env.TEST_COUNTS) appendFileSync(process.env.TEST_COUNTS, `${passed} ${failed} 0\n`);
  return failed === 0;
}

// A long stack makes an expected error slow.
Error.stackTraceLimit = 3;
if (isMainThread) process.exitCode = (await main()) ? 0 : 1;
else if (workerData === 'batches') {
  parentPort?.on('message', async ({ seed, numRuns }) => parentPort?.postMessage(await runBatch(seed, numRuns)));
}
