import { type Command, Option } from 'commander';
import { messageOf, type Thrown } from '../../lib/aws/faults.ts';
import { DynamoDBLockStore } from '../../lib/dynamodb/store.ts';
import { SERVICE } from '../../lib/dynamodb/table.ts';
import { tableIn } from '../../lib/emf.ts';
import { show } from '../../lib/record/check.ts';
import { atPlace } from '../place.ts';
import { BOUNDS } from '../sdk-clients.ts';
import { keysOf, ttlOf } from '../table-doctor.ts';
import { DEFAULT_NAME, type PolicyOptions, policyOf, TOOLS } from '../table-templates.ts';
import { print, UsageError, warn } from '../terminal.ts';

/** The time that a table may need to be made, in seconds. */
const MADE_S = 120;
/** The time after which a making is told of that goes on, in milliseconds. */
const TELL_MS = 2_000;

export const addTable = (program: Command): Command => {
  const table = program
    .command('table')
    .description('make a lock table, or print its template or the policy of its users');
  table
    .command('create')
    .description('make the lock table of --table: on demand, with TTL; for local use and for tries')
    .action(atPlace(async ({ store }) => create(tableOf(store))));
  table
    .command('template')
    .description('print the table as infrastructure code')
    .addOption(new Option('--format <format>', 'the tool').choices(Object.keys(TOOLS)).makeOptionMandatory())
    .action(
      atPlace(async ({ store }, { format, table: name }: { format: string; table?: string }) => {
        const { table } = tableOf(store);
        // The environment's name is that of a table to try things with, and no name for a template.
        printLines(TOOLS[format]?.template({ ...table, tableName: name && tableIn(name) }) ?? '');
        return 0;
      }, DEFAULT_NAME),
    );
  table
    .command('policy')
    .description('print the IAM policy of a function that locks some keys')
    .addOption(
      new Option('--format <format>', "the tool in whose template the policy names the template's own table").choices(
        Object.keys(TOOLS),
      ),
    )
    .option('--keys <keys...>', 'the keys')
    .option('--key-prefixes <prefixes...>', 'the beginnings of keys, such as jobs/')
    .option(
      '--permits <key=number...>',
      'the keys of locks with permits, and the most permits of each, such as partner=5',
    )
    .option('--fleet', 'allow what runTasks needs besides')
    .option('--guarded-writes', 'allow transactions that commit only while the lock is held')
    .action(
      atPlace(async ({ store }, options: PolicyOptions) => {
        printLines(JSON.stringify(policyOf(tableOf(store).tableName, options), undefined, 2));
        return 0;
      }, DEFAULT_NAME),
    );
  return table;
};

function printLines(text: string): void {
  for (const line of text.split('\n')) print(line);
}

function tableOf(store: unknown): DynamoDBLockStore {
  if (store instanceof DynamoDBLockStore) {
    const { sortKey } = store.table;
    if (sortKey === undefined) return store;
    throw new UsageError(
      `table makes no table with a sort key, but --sort-key is ${show(sortKey.name)}: leave it out.`,
    );
  }
  throw new UsageError('table is about DynamoDB tables: leave --store and LOCK_STORE out.');
}

/**
 * Makes the table, and turns its TTL on. Either step may have been done before: by a run whose answer was lost, or by another
 * operator. So a table that is there already is looked at, and gets its TTL.
 */
async function create(store: DynamoDBLockStore): Promise<number> {
  const { tableName, table } = store;
  const sdk = await import('@aws-sdk/client-dynamodb').catch(() => {
    throw new UsageError('table create needs the AWS SDK. Type: npm install @aws-sdk/client-dynamodb');
  });
  const client = new sdk.DynamoDBClient(BOUNDS);
  const TableName = tableName;
  const unless = (name: string) => (error: Error) => {
    if (error.name !== name) throw error;
    return undefined;
  };
  const telling = setTimeout(() => warn(`Waiting for the table ${show(tableName)} to be made …`), TELL_MS);
  try {
    const made = await client
      .send(
        new sdk.CreateTableCommand({
          TableName,
          BillingMode: 'PAY_PER_REQUEST',
          AttributeDefinitions: [{ AttributeName: table.keyAttribute, AttributeType: 'S' }],
          KeySchema: [{ AttributeName: table.keyAttribute, KeyType: 'HASH' }],
        }),
      )
      .catch(unless('ResourceInUseException'));
    // The SDK's waiter would wait its whole time for a table that may not be looked at.
    await client.send(new sdk.DescribeTableCommand({ TableName })).catch(unless('ResourceNotFoundException'));
    await sdk.waitUntilTableExists({ client, maxWaitTime: MADE_S, minDelay: 1, maxDelay: 2 }, { TableName });
    const { Table = {} } = await client.send(new sdk.DescribeTableCommand({ TableName }));
    const faults = keysOf(Table, store);
    if (faults.length > 0) {
      // Somebody else's table, whose items a TTL may delete.
      warn(`The table ${show(tableName)} was there already, and nothing was changed.`);
      for (const { message } of faults) warn(`error: ${message}`);
      return 1;
    }
    const { TimeToLiveDescription: ttl } = await client.send(new sdk.DescribeTimeToLiveCommand({ TableName }));
    if (ttl?.TimeToLiveStatus?.startsWith('ENABL')) {
      for (const { severity, message } of ttlOf(ttl, store)) warn(`${severity}: ${message}`);
    } else {
      const TimeToLiveSpecification = { Enabled: true, AttributeName: table.ttlAttribute };
      await client.send(new sdk.UpdateTimeToLiveCommand({ TableName, TimeToLiveSpecification }));
    }
    print(made ? `The table ${show(tableName)} is made.` : `The table ${show(tableName)} was there already.`);
    return 0;
  } catch (error) {
    throw new Error(messageOf(error as Thrown, `the request to make the table ${show(tableName)}`, SERVICE), {
      cause: error,
    });
  } finally {
    clearTimeout(telling);
    client.destroy();
  }
}
