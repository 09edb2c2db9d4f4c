/** Findings about a lock table that no request of a lock tells: its keys, its TTL, its replicas, its protection, and the clock. */
import type { ContinuousBackupsDescription, TableDescription, TimeToLiveDescription } from '@aws-sdk/client-dynamodb';
import { keepDates } from '../lib/aws/sdk-client.ts';
import { datesOf, type Metadata } from '../lib/aws/server-date.ts';
import type { DynamoDBLockStore } from '../lib/dynamodb/store.ts';
import { show } from '../lib/record/check.ts';
import type { StoreProblem } from '../lib/record/store.ts';
import { answerTo, type Finding, orFine } from './findings.ts';
import { BOUNDS } from './sdk-clients.ts';
import { offBy } from './terminal.ts';

/** A host whose clock is further off pays for more requests. */
const CLOCK_MS = 2_000;

/** Describes a lock table and judges the description. A right to describe that is missing is a finding, and ends nothing. */
export async function examineTable(store: DynamoDBLockStore): Promise<Finding[]> {
  const sdk = await import('@aws-sdk/client-dynamodb').catch(() => undefined);
  if (sdk === undefined) {
    const message =
      'The settings of the table were not looked at: type npm install @aws-sdk/client-dynamodb, and ask again.';
    return [{ severity: 'warning', message }];
  }
  const client = new sdk.DynamoDBClient(BOUNDS);
  keepDates(client);
  const input = { TableName: store.tableName };
  const findings: Finding[] = [];
  let offMs: number | undefined;
  const ask = <Answer extends { $metadata: Metadata }>(name: string, settings: string, send: () => Promise<Answer>) =>
    answerTo(name, settings, findings, async () => {
      const sentAt = Date.now();
      const answer = await send();
      const { serverDate } = datesOf(answer.$metadata);
      // The date tells whole seconds.
      if (serverDate !== undefined) offMs = (sentAt + Date.now()) / 2 - (serverDate + 500);
      return answer;
    });
  try {
    const table = (
      await ask('DescribeTable', 'the keys and replicas', () => client.send(new sdk.DescribeTableCommand(input)))
    )?.Table;
    const ttl = await ask('DescribeTimeToLive', 'the settings of TTL', () =>
      client.send(new sdk.DescribeTimeToLiveCommand(input)),
    );
    const backups = await ask('DescribeContinuousBackups', 'the settings of backups', () =>
      client.send(new sdk.DescribeContinuousBackupsCommand(input)),
    );
    if (table) {
      const fine = `The table's key is ${keyNames(store).join(', ')}.`;
      findings.push(...orFine(keysOf(table, store), fine), ...replicasOf(table));
    }
    const isStrong = table?.MultiRegionConsistency === 'STRONG';
    if (ttl && !isStrong) {
      const { ttlAttribute } = store.table;
      findings.push(...orFine(ttlOf(ttl.TimeToLiveDescription, store), `TTL reads ${show(ttlAttribute)}.`));
    }
    if (backups) findings.push(...backupsOf(backups.ContinuousBackupsDescription));
    if (offMs !== undefined) findings.push(clockOf(offMs));
    return findings;
  } finally {
    client.destroy();
  }
}

/** @param offMs the time by which this host's clock is ahead: behind, if negative. */
export function clockOf(offMs: number): Finding {
  if (Math.abs(offMs) <= CLOCK_MS) {
    return { severity: 'ok', message: `This host's clock is within ${CLOCK_MS / 1000} s of DynamoDB's.` };
  }
  const message = `This host's clock is about ${offBy(offMs)} DynamoDB's: set the clock by NTP.`;
  return { severity: 'warning', message };
}

/** The names of the partition key and of the sort key, if there is one, that the locks look for. */
const keyNames = ({ table: { keyAttribute, sortKey } }: DynamoDBLockStore): string[] =>
  sortKey ? [keyAttribute, sortKey.name] : [keyAttribute];

/** Finds keys that are not those of the store. */
export function keysOf(
  { KeySchema = [], AttributeDefinitions = [] }: TableDescription,
  store: DynamoDBLockStore,
): StoreProblem[] {
  const expected = keyNames(store);
  const found = KeySchema.map(({ AttributeName }) => AttributeName);
  const typed = AttributeDefinitions.filter(({ AttributeName }) => found.includes(AttributeName));
  const problems: StoreProblem[] = [];
  if (found.join() !== expected.join()) {
    const message = `The table's key is ${found.join(', ')}, and the locks look for ${expected.join(', ')}: give --key-attribute and --sort-key, and the same options to the store.`;
    problems.push({ severity: 'error', message });
  }
  for (const { AttributeName, AttributeType } of typed) {
    if (AttributeType === 'S') continue;
    const message = `The key ${show(AttributeName)} of the table has the type ${AttributeType}, and must have S: make another table.`;
    problems.push({ severity: 'error', message });
  }
  return problems;
}

/** Finds a TTL that is off, or that reads another attribute. */
export function ttlOf(ttl: TimeToLiveDescription | undefined, { table }: DynamoDBLockStore): StoreProblem[] {
  const { TimeToLiveStatus: status = 'DISABLED', AttributeName: name } = ttl ?? {};
  if (!status.startsWith('ENABL')) {
    const message = `TTL is off, so that records of locks stay for ever: turn TTL on, on the attribute ${show(table.ttlAttribute)}.`;
    return [{ severity: 'warning', message }];
  }
  if (name === table.ttlAttribute) return [];
  const message = `TTL reads ${show(name)}, and the locks write ${show(table.ttlAttribute)}, so that their records stay for ever: give --ttl-attribute, and the same option to the store.`;
  return [{ severity: 'warning', message }];
}

function replicasOf({ Replicas = [], MultiRegionConsistency: consistency }: TableDescription): StoreProblem[] {
  if (Replicas.length === 0 || consistency === 'STRONG') return [];
  const regions = Replicas.map(({ RegionName }) => RegionName).join(', ');
  const message = `The table has eventually consistent replicas (${regions}): a lock that is taken in two Regions is granted twice. Take each lock in one Region alone, or make the replicas STRONG.`;
  return [{ severity: 'warning', message }];
}

function backupsOf(backups: ContinuousBackupsDescription | undefined): StoreProblem[] {
  if (backups?.PointInTimeRecoveryDescription?.PointInTimeRecoveryStatus !== 'ENABLED') return [];
  const message =
    'The table has point-in-time recovery: a restored table gives out fencing tokens a second time, and forgets once tokens. Raise the tokens by leasehold repair after a restore.';
  return [{ severity: 'warning', message }];
}
