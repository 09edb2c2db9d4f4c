import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { DynamoDBLockStore } from '../../lib/dynamodb/store.ts';
import type { LockClient } from '../../lib/index.ts';
import type { Finding } from '../findings.ts';
import { examineMetrics } from '../metrics-doctor.ts';
import { inOwnWords } from '../own-words.ts';
import { atPlace } from '../place.ts';
import { examineTable } from '../table-doctor.ts';
import { print } from '../terminal.ts';

/** A slow store makes each lock slow. Within one Region, an answer takes some milliseconds. */
const SLOW_MS = 250;

/**
 * The requests by which leasehold uses a store. None changes anything: the key is new, and the grant to end is unknown, so
 * the condition of the write fails. Whoever may not send the write is refused before its condition is asked.
 */
const TRIALS: Readonly<Record<string, (locks: LockClient, key: string) => Promise<unknown>>> = {
  'reading one lock': (locks, key) => locks.inspect(key),
  'reading several locks': (locks, key) => locks.inspectMany([key]),
  'listing the locks': async (locks, key) => {
    for await (const _ of locks.list({ prefix: key })) return;
  },
  'writing a lock': (locks, key) => locks.forceRelease(key, { lockId: key }),
};

export const addDoctor = (program: Command): Command =>
  program
    .command('doctor')
    .alias('check')
    .description(
      'say what is wrong with the place of the locks, and what to do: try each request without a change, take the time of an ' +
        'answer, and look at the settings of the place, its metrics and its alarms',
    )
    .option('--json', 'print one JSON object a line')
    .action(
      atPlace(async ({ locks, store }, { json }: { json?: boolean }) => {
        const findings = await tried(locks);
        if (!(store instanceof DynamoDBLockStore)) findings.push(...(await locks.check()));
        else findings.push(...(await examineTable(store)), ...(await examineMetrics(store.tableName)));
        for (const finding of findings) {
          print(json ? JSON.stringify(finding) : `${finding.severity}: ${finding.message}`);
        }
        const isFine = findings.every(({ severity }) => severity === 'ok');
        if (isFine && !json) print('Nothing is wrong with the place of the locks.');
        return findings.some(({ severity }) => severity === 'error') ? 1 : 0;
      }),
    );

/** Tries each request. If none succeeds, the place cannot be reached: that is an error of the call, and no finding. */
async function tried(locks: LockClient): Promise<Finding[]> {
  const key = `leasehold-doctor/${randomUUID()}`;
  const findings: Finding[] = [];
  const failures: unknown[] = [];
  let slowest = 0;
  for (const [name, trial] of Object.entries(TRIALS)) {
    const began = performance.now();
    try {
      await trial(locks, key);
      const took = Math.round(performance.now() - began);
      // The first answer also pays for the connection.
      if (name !== 'reading one lock') slowest = Math.max(slowest, took);
      findings.push({ severity: 'ok', message: `${name} is allowed, and took ${took} ms.` });
    } catch (error) {
      failures.push(error);
      findings.push({ severity: 'error', message: `${name} failed: ${inOwnWords((error as Error).message)}` });
    }
  }
  if (failures.length === Object.keys(TRIALS).length) throw failures[0];
  if (slowest > SLOW_MS) {
    const message = `An answer took ${slowest} ms. Each lock waits for two such answers: is the place in another Region?`;
    findings.push({ severity: 'warning', message });
  }
  return findings;
}
