import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { drawTimeline } from '../../demo/picture.ts';
import { logFile, RecordReader, runsOf } from '../../demo/record.ts';
import { verify } from '../../demo/verify.ts';
import { tasks } from '../../lambda/tasks.ts';

const taskNames = tasks.map(({ name }) => name);
const START = Date.parse('2026-01-01T02:00:00Z');

interface Line {
  type: string;
  at: number;
  [more: string]: unknown;
}

/** The lines of each Lambda, and of the demo (0). */
type Record = Map<number, Line[]>;

const write = (record: Record, lambda: number, ...lines: Line[]): Map<number, Line[]> =>
  record.set(lambda, [...(record.get(lambda) ?? []), ...lines]);

interface RunOptions {
  token?: number;
  takenOverFrom?: number;
  /** The moment of the last line, at which the handler was cut. */
  until?: number;
}

/** Adds the lines of a run of 1,000 ms: five steps, and a lease of 2,000 ms with a deadline after 1,500 ms. */
function run(record: Record, lambda: number, task: string, at: number, options: RunOptions = {}): void {
  const { token = 1, takenOverFrom, until = Number.POSITIVE_INFINITY } = options;
  const grant = { key: `tasks/${task}`, owner: `worker ${lambda}`, fencingToken: token };
  const lines = [
    {
      ...grant,
      type: 'acquired',
      at,
      deadline: at + 1_500,
      expiresAt: at + 2_000,
      ...(takenOverFrom && { takenOverFrom: { owner: `worker ${takenOverFrom}`, expiredAt: at } }),
    },
    ...[1, 2, 3, 4, 5].map((step) => ({ ...grant, type: 'step', at: at + step * 200, step, steps: 5 })),
    { ...grant, type: 'ended', at: at + 1_000, held: true },
    { ...grant, type: 'released', at: at + 1_004, heldMs: 1_004, done: true },
  ];
  write(record, lambda, ...lines.filter((line) => line.at <= until));
}

/**
 * A record without a fault:
 * - Lambda 1 is killed in the first task, and Lambda 3 takes the task over;
 * - Lambda 2 is frozen in the second task, and Lambda 4 takes the task over;
 * - Lambda 5 does the other tasks.
 */
function goodRecord(): Record {
  const record: Record = new Map();
  const [first = '', second = '', ...rest] = taskNames;
  for (let lambda = 1; lambda <= 5; lambda++) write(record, 0, { type: 'invoked', at: START, lambda });
  run(record, 1, first, START + 10, { until: START + 500 });
  write(record, 0, { type: 'killed', at: START + 505, lambda: 1 });
  run(record, 3, first, START + 2_010, { token: 2, takenOverFrom: 1 });
  run(record, 2, second, START + 10, { until: START + 500 });
  write(record, 0, { type: 'frozen', at: START + 505, lambda: 2 }, { type: 'thawed', at: START + 2_500, lambda: 2 });
  const lost = { key: `tasks/${second}`, owner: 'worker 2', fencingToken: 1, at: START + 2_501 };
  write(record, 2, { ...lost, type: 'lost', reason: 'expired' }, { ...lost, type: 'ended', held: false });
  run(record, 4, second, START + 2_010, { token: 2, takenOverFrom: 2 });
  for (const [index, task] of rest.entries()) run(record, 5, task, START + 1_010 * index);
  return record;
}

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'leasehold-record-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function save(record: Record): void {
  for (const [lambda, lines] of record) {
    const file = lambda === 0 ? join(folder, 'demo.jsonl') : logFile(folder, lambda);
    writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  }
}

function findingsIn(record: Record): readonly string[] {
  save(record);
  return verify(new RecordReader(folder).poll(), taskNames).findings;
}

/** Runs the command that judges a record. Returns its exit code and its output. */
function judge(record: Record): Promise<{ code: number; said: string }> {
  save(record);
  const program = join(import.meta.dirname, '../../demo/verify.ts');
  return new Promise((resolve) => {
    execFile(process.execPath, [program, folder], (error, _stdout, said) =>
      resolve({ code: Number(error?.code ?? 0), said }),
    );
  });
}

const linesOf = (record: Record, lambda: number): Line[] => record.get(lambda) ?? [];

describe('the judge of the demo', () => {
  test('finds no fault if other Lambdas took over the tasks of a killed and a frozen Lambda', async () => {
    expect(findingsIn(goodRecord())).toEqual([]);
    expect(await judge(goodRecord())).toEqual({ code: 0, said: '' });
  });

  test('exits with 1 and names the runs if two runs of a task overlap', async () => {
    const record = goodRecord();
    run(record, 6, 'refunds', START + 3_000, { token: 3 });
    const { code, said } = await judge(record);
    expect(code).toBe(1);
    expect(said).toContain('The run of refunds by Lambda 6 began 10 ms before Lambda 4 had ended its own.');
  });

  test('exits with 1 if a task was not done', async () => {
    const record = goodRecord();
    record.set(
      5,
      linesOf(record, 5).filter((line) => line.key !== 'tasks/payroll'),
    );
    expect(await judge(record)).toEqual({ code: 1, said: 'The task payroll was not done.\n' });
  });

  test('does not count a run without a release as done', () => {
    const record = goodRecord();
    record.set(
      5,
      linesOf(record, 5).filter((line) => line.key !== 'tasks/payroll' || line.type !== 'released'),
    );
    expect(findingsIn(record)).toEqual(['The task payroll was not done.']);
  });

  test('finds a task that was done twice, one run after the other', () => {
    const record = goodRecord();
    run(record, 6, 'invoices', START + 9_000, { token: 3 });
    expect(findingsIn(record)).toEqual(['The task invoices was done 2 times.']);
  });

  test('counts the belief of a holder until its deadline, and not until its last line', () => {
    const record = goodRecord();
    const tooEarly = START + 10 + 1_499;
    record.set(4, []);
    run(record, 4, 'refunds', tooEarly, { token: 2, takenOverFrom: 2 });
    expect(findingsIn(record)).toEqual([
      'The run of refunds by Lambda 4 began 1 ms before Lambda 2 had ended its own.',
    ]);
  });

  test('counts the belief of a holder that renewed until its new deadline', () => {
    const record = goodRecord();
    write(record, 2, {
      ...{ type: 'renewed', at: START + 490, key: 'tasks/refunds', owner: 'worker 2', fencingToken: 1 },
      ...{ deadline: START + 2_100, expiresAt: START + 2_600 },
    });
    expect(findingsIn(record)).toEqual([
      'The run of refunds by Lambda 4 began 90 ms before Lambda 2 had ended its own.',
    ]);
  });

  test('finds a fencing token that did not grow', () => {
    const record = goodRecord();
    record.set(3, []);
    run(record, 3, 'invoices', START + 2_010, { token: 1, takenOverFrom: 1 });
    expect(findingsIn(record)).toEqual([
      'The run of invoices by Lambda 3 has the fencing token 1, and an earlier run 1.',
    ]);
  });

  test('finds a step that a thawed Lambda made after its deadline', () => {
    const record = goodRecord();
    const step = { type: 'step', at: START + 2_500, key: 'tasks/refunds', fencingToken: 1, step: 3, steps: 5 };
    write(record, 2, step);
    expect(findingsIn(record)).toEqual([
      'The run of refunds by Lambda 2 has 1 steps outside of the time of its lease.',
    ]);
  });

  test('finds a kill that ended no run, and a frozen Lambda whose task nobody took over', () => {
    const record = goodRecord();
    record.set(1, []);
    record.set(4, []);
    run(record, 4, 'refunds', START + 2_010, { token: 2 });
    expect(findingsIn(record)).toEqual([
      'Lambda 1 was killed, but no run of its own is killed.',
      'Lambda 2 was frozen in the middle of refunds, but nobody took that over.',
    ]);
  });

  test('leaves out a half line of a writer that was killed', () => {
    const record = goodRecord();
    save(record);
    writeFileSync(logFile(folder, 1), '{"type":"step","at":17', { flag: 'a' });
    expect(verify(new RecordReader(folder).poll(), taskNames).findings).toEqual([]);
  });
});

describe('the reader of a record', () => {
  test('gives each line once, and a half line when the line is whole', () => {
    const reader = new RecordReader(folder);
    writeFileSync(logFile(folder, 1), '{"type":"step","at":2}\n{"type":"st', { flag: 'a' });
    writeFileSync(join(folder, 'demo.jsonl'), '{"type":"killed","at":1,"lambda":2}\n{"_aws":{}}\n', { flag: 'a' });
    expect(reader.poll()).toEqual([
      { type: 'killed', at: 1, lambda: 2 },
      { type: 'step', at: 2, lambda: 1 },
    ]);
    expect(reader.poll()).toEqual([]);
    writeFileSync(logFile(folder, 1), 'ep","at":3}\n', { flag: 'a' });
    expect(reader.poll()).toEqual([{ type: 'step', at: 3, lambda: 1 }]);
  });
});

describe('the timeline', () => {
  test('names every task and Lambda, and marks the killed and the frozen Lambda', () => {
    save(goodRecord());
    const entries = new RecordReader(folder).poll();
    const picture = drawTimeline(runsOf(entries), entries);
    for (const name of [...taskNames, 'Lambda 1', 'Lambda 5']) expect(picture).toContain(`>${name}</text>`);
    expect(picture).toContain('>killed</text>');
    expect(picture).toContain('>frozen 2.0 s, thawed: isHeld() is false</text>');
    expect(picture).toContain('invoices by Lambda 1: killed after 495 ms, fencing token 1<');
    expect(picture).toContain('invoices by Lambda 3, taken over from Lambda 1: done after 1000 ms, fencing token 2<');
    expect(picture).not.toMatch(/NaN|undefined/);
  });
});

describe('npm run demo', () => {
  const demo = async (variables: NodeJS.Dict<string>, ...args: string[]) => {
    const env = { ...process.env, ...variables };
    const program = join(import.meta.dirname, '../../demo/demo.ts');
    const { error, stdout, stderr } = await new Promise<{ error: unknown; stdout: string; stderr: string }>((resolve) =>
      execFile(process.execPath, [program, ...args], { env }, (error, stdout, stderr) =>
        resolve({ error, stdout, stderr }),
      ),
    );
    return { status: error ? (error as { code: number }).code : 0, out: stdout, err: stderr };
  };

  test('where no DynamoDB runs, runs on files, says so in a line, and finds no fault', async () => {
    const { status, out, err } = await demo({ LEASEHOLD_NO_DYNAMODB: '1' });
    expect({ status, err }).toEqual({ status: 0, err: '' });
    expect(out).toMatch(
      /^No DynamoDB runs here \(install Java 17 or later.*\), so the locks are files in a temporary folder\.\n6 Lambdas/,
    );
    expect(out).toContain('Verified from the record: 24 tasks done, each once.');
    const [, folder = ''] = /^(\S+) and 6 processes are ready/m.exec(out) ?? [];
    expect(folder).toContain('leasehold-locks-');
    expect(existsSync(folder)).toBe(false);
  }, 60_000);

  test('tells its options by --help, and runs nothing', async () => {
    const { status, out, err } = await demo({}, '--help');
    expect({ status, err }).toEqual({ status: 0, err: '' });
    expect(out).toBe(
      'Usage: npm run demo -- [--store NAME] [--page]\n\n  --store NAME  where the locks are: dynamodb, redis, s3, file\n  --page        shows the locks on a live page, until Ctrl-C\n',
    );
  });

  test.each([
    [['--store', 'dynamodb'], {}, 'Expected dynamodb to run here: install Java 17 or later'],
    [['--store', 'redis'], { PATH: '/nowhere' }, 'Expected redis to run here: install redis-server'],
    [['--store', 'etcd'], {}, "--store must be one of dynamodb, redis, s3, file, but it is 'etcd'."],
    [['--shop', 'redis'], {}, "Unknown option '--shop'"],
  ])('with %j where that does not run, says so and exits with 2', async (args, variables, message) => {
    const { status, out, err } = await demo({ LEASEHOLD_NO_DYNAMODB: '1', CI: '', ...variables }, ...args);
    expect({ status, out, err }).toEqual({ status: 2, out: '', err: expect.stringContaining(message) });
    expect(err.trim()).not.toContain('\n');
  });
});
