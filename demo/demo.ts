/**
 * The whole of leasehold at work, on this machine. Six Lambdas and one table of locks share out 24 tasks. One Lambda is
 * killed in mid-task, and one is frozen for longer than its lease. The record is drawn, and judged.
 *
 * `npm run demo -- --store redis` (or `s3`, `file`) has the locks there. `-- --page` shows the locks on the live page, too.
 */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { openPlace } from '../bin/place.ts';
import { serve } from '../bin/serve/server.ts';
import { tasks } from '../lambda/tasks.ts';
import { LockClient } from '../lib/index.ts';
import { bundle, lambdaEnvironment } from './local/function-bundle.ts';
import { Lambda } from './local/lambda.ts';
import { drawTimeline } from './picture.ts';
import { busyTriesOf, type Entry, logFile, RecordReader, type Run, runsOf, writeDown } from './record.ts';
import { STORE_NAMES, storeOf } from './stores.ts';
import { chart, Progress, paint, table } from './terminal.ts';
import { verify } from './verify.ts';

const FUNCTION_NAME = 'task-worker';
const LAMBDAS = 6;
const FUNCTION_TIMEOUT_MS = 15_000;
const DEMO_TIMEOUT_MS = 19_000;
const POLL_MS = 25;

const beganAt = performance.now();
const { store, withPage } = await asked();
console.log(`${LAMBDAS} Lambdas, ${tasks.length} tasks, ${store.title}. Starting a server, bundling the handler.`);

const folder = mkdtempSync(join(tmpdir(), 'leasehold-demo-'));
const reader = new RecordReader(folder);
const entries: Entry[] = [];

/** Aborts at Ctrl-C, with the signal's name, and when the demo takes too long. */
const stop = new AbortController();
const stopSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
for (const name of stopSignals) process.once(name, () => stop.abort(name));
const tooLong = setTimeout(
  () => stop.abort(new Error(`Expected the demo to end within ${DEMO_TIMEOUT_MS} ms, but it did not.`)),
  DEMO_TIMEOUT_MS,
);

try {
  await shareOut();
} catch (error) {
  const wasStopped = stopSignals.some((name) => name === error);
  console.error(wasStopped ? `Stopped by ${error}.` : error);
  process.exitCode = wasStopped ? 130 : 1;
} finally {
  clearTimeout(tooLong);
  if (process.exitCode === 1) console.error(`The record was kept: ${folder}`);
  else rmSync(folder, { recursive: true });
}

/** The options. Ends the demo with the reason if one is wrong, and with the options if `--help` asks for them. */
async function asked(): Promise<{ store: Awaited<ReturnType<typeof storeOf>>; withPage: boolean }> {
  try {
    const options = { store: { type: 'string' }, page: { type: 'boolean' }, help: { type: 'boolean' } } as const;
    const { values } = parseArgs({ options });
    if (values.help) {
      console.log(
        `Usage: npm run demo -- [--store NAME] [--page]\n\n  --store NAME  where the locks are: ${STORE_NAMES}\n` +
          '  --page        shows the locks on a live page, until Ctrl-C',
      );
      process.exit();
    }
    return { store: await storeOf(values.store), withPage: values.page ?? false };
  } catch (error) {
    console.error((error as Error).message);
    process.exit(2);
  }
}

/**
 * Runs the Lambdas until each has responded, and tells of the record. With the live page, goes on until Ctrl-C. The Lambdas
 * and the server have ended when this returns or throws.
 */
async function shareOut(): Promise<void> {
  await using started = new AsyncDisposableStack();
  const stopped = new Promise<never>((_resolve, reject) => {
    stop.signal.addEventListener('abort', () => reject(stop.signal.reason));
  });
  try {
    await Promise.race([stopped, startLambdas(started).then(runLambdas)]);
    process.exitCode = report() ? 0 : 1;
    if (withPage) await untilStopped();
  } finally {
    // Nothing is left to wait for.
    stopped.catch(() => {});
    stop.abort('over');
  }
}

/** Keeps the live page open. Ctrl-C is then the demo's usual end. */
async function untilStopped(): Promise<void> {
  clearTimeout(tooLong);
  console.log('The live page stays open, and shows the locks as the tasks have left them, until Ctrl-C.');
  // A listener on a signal keeps no process alive, but the page's server does.
  await new Promise((resolve) => stop.signal.addEventListener('abort', resolve));
}

async function startPage(started: AsyncDisposableStack, environment: Record<string, string>): Promise<void> {
  Object.assign(process.env, environment);
  const place = await openPlace({});
  started.defer(() => place.close());
  const page = await serve(new LockClient({ store: place.store }), { place: `the demo: ${store.title}`, everyMs: 500 });
  started.defer(() => page.close());
  console.log(`The locks, live: ${page.url}`);
}

async function startLambdas(started: AsyncDisposableStack): Promise<Lambda[]> {
  const [{ name, environment }] = await Promise.all([
    store.start(started),
    bundle(join(import.meta.dirname, '..', store.handler), folder),
  ]);
  const lambdas = Array.from({ length: LAMBDAS }, (_, index) => {
    const place = { functionName: FUNCTION_NAME, folder: join(folder, FUNCTION_NAME), handler: 'index.handler' };
    const options = {
      environment: lambdaEnvironment(place, environment),
      timeoutMs: FUNCTION_TIMEOUT_MS,
      logFile: logFile(folder, index + 1),
    };
    return started.use(new Lambda(options));
  });
  await Promise.all(lambdas.map((lambda) => lambda.ready));
  if (withPage) await startPage(started, environment);
  const readyMs = Math.round(performance.now() - beganAt);
  console.log(`${name} and ${LAMBDAS} processes are ready after ${readyMs} ms.\n`);
  return lambdas;
}

/** Six rules fire at the same minute; meanwhile things go wrong. */
async function runLambdas(lambdas: readonly Lambda[]): Promise<void> {
  const minute = `${new Date().toISOString().slice(0, 16)}:00Z`;
  const invoke = async (lambda: Lambda, index: number) => {
    const number = index + 1;
    writeDown(folder, 'invoked', number);
    try {
      await lambda.invoke(scheduledEvent(`${FUNCTION_NAME}-${number}`, minute));
      writeDown(folder, 'responded', number);
    } catch (error) {
      if (!lambda.isKilled) throw error;
    }
  };
  await Promise.all([...lambdas.map(invoke), goWrong(lambdas)]);
}

/** Kills one Lambda in mid-task, freezes another, and thaws the frozen one when its task has been taken over. */
async function goWrong(lambdas: readonly Lambda[]): Promise<void> {
  const progress = new Progress();
  const invokedAt = Date.now();
  const victims = new Set<number>();

  const until = async <Found>(find: () => Found | undefined | false): Promise<Found> => {
    for (;;) {
      stop.signal.throwIfAborted();
      const added = reader.poll();
      entries.push(...added);
      progress.show(added, entries);
      const found = find();
      if (found) return found;
      await sleep(POLL_MS);
    }
  };
  const strike = async (afterMs: number, type: 'killed' | 'frozen') => {
    const run = await until(() => Date.now() - invokedAt > afterMs && inMidTask(victims));
    const lambda = lambdas[run.lambda - 1] as Lambda;
    victims.add(run.lambda);
    if (type === 'killed') await lambda.kill();
    else lambda.freeze();
    writeDown(folder, type, run.lambda);
    return { lambda, run };
  };

  await strike(2_000, 'killed');
  const frozen = await strike(3_000, 'frozen');
  // Should nobody take the task over, the other Lambdas end some time, and the record tells.
  await until(() => isTakenOver(frozen.run) || haveResponded(LAMBDAS - victims.size));
  writeDown(folder, 'thawed', frozen.run.lambda);
  frozen.lambda.thaw();
  await until(() => haveResponded(LAMBDAS - 1));
}

function haveResponded(lambdas: number): boolean {
  return entries.filter((entry) => entry.type === 'responded').length === lambdas;
}

/** Finds a long task, somewhere in its middle, of a Lambda to which nothing has happened yet. */
function inMidTask(victims: ReadonlySet<number>): Run | undefined {
  return runsOf(entries).find(({ end, lambda, steps, stepsAt }) => {
    const share = stepsAt.length / steps;
    return end === 'unfinished' && !victims.has(lambda) && steps >= 20 && share > 0.3 && share < 0.6;
  });
}

/** True when the task of a run has been taken over, and the run that took it over is well under way. */
function isTakenOver({ lambda, task }: Run): boolean {
  return runsOf(entries).some(
    (run) => run.task === task && run.takenOverFrom === lambda && (run.end !== 'unfinished' || run.stepsAt.length >= 8),
  );
}

/**
 * The event of an EventBridge rule with a schedule.
 * https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html
 */
function scheduledEvent(rule: string, time: string): object {
  return {
    version: '0',
    id: randomUUID(),
    'detail-type': 'Scheduled Event',
    source: 'aws.events',
    account: '123456789012',
    time,
    region: 'us-east-1',
    resources: [`arn:aws:events:us-east-1:123456789012:rule/${rule}`],
    detail: {},
  };
}

/** Tells, draws and judges the record. */
function report(): boolean {
  const { runs, findings, shortestGapMs } = verify(
    entries,
    tasks.map(({ name }) => name),
  );
  const picture = join(import.meta.dirname, 'timeline.svg');
  writeFileSync(picture, drawTimeline(runs, entries, store.title));
  console.log(`\n${table(runs, entries)}\n\n${chart(runs, entries)}\n`);
  console.log(`The same as a picture: ${relative(process.cwd(), picture)}`);
  const tookS = ((performance.now() - beganAt) / 1000).toFixed(1);
  if (findings.length > 0) {
    for (const finding of findings) console.error(paint('red', finding));
    console.error(`Expected a record without fault, but found ${findings.length} (above), after ${tookS} s.`);
    return false;
  }
  const cut = runs.filter((run) => run.end !== 'done').length;
  console.log(
    `${paint('green', 'Verified from the record')}: ${tasks.length} tasks done, each once. ${cut} runs were cut short, and their tasks taken over.\n` +
      `${busyTriesOf(entries).length} times a task was met busy, and no two runs of one overlap: at the closest they are ${shortestGapMs} ms apart. ${tookS} s.`,
  );
  return true;
}
