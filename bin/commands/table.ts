import { type Command, Option } from 'commander';
import { DynamoDBLockStore } from '../../lib/dynamodb/store.ts';
import { show } from '../../lib/record/check.ts';
import { atPlace } from '../place.ts';
import { type PolicyOptions, policyOf, TEMPLATES } from '../table-templates.ts';
import { print, UsageError, warn } from '../terminal.ts';

/** The time that a table may need to be made, in seconds. */
const MADE_S = 120;

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
    .addOption(new Option('--format <format>', 'the tool').choices(Object.keys(TEMPLATES)).makeOptionMandatory())
    .action(
      atPlace(async ({ store }, { format }: { format: string }) => {
        const { tableName, table } = tableOf(store);
        printLines(TEMPLATES[format]?.({ ...table, tableName }) ?? '');
        return 0;
      }, 'locks'),
    );
  table
    .command('policy')
    .description('print the IAM policy of a function that locks some keys')
    .option('--keys <keys...>', 'the keys')
    .option('--key-prefixes <prefixes...>', 'the beginnings of keys, such as jobs/')
    .option('--fleet', 'allow what runTasks needs besides')
    .option('--guarded-writes', 'allow transactions that commit only while the lock is held')
    .action(
      atPlace(async ({ store }, options: PolicyOptions) => {
        printLines(JSON.stringify(policyOf(tableOf(store).tableName, options), undefined, 2));
        return 0;
      }, 'locks'),
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
 * operator. So a table that is there already is told, and gets its TTL.
 */
async function create({ tableName, table: { keyAttribute, ttlAttribute } }: DynamoDBLockStore): Promise<number> {
  const sdk = await import('@aws-sdk/client-dynamodb').catch(() => {
    throw new UsageError('table create needs the AWS SDK. Type: npm install @aws-sdk/client-dynamodb');
  });
  const client = new sdk.DynamoDBClient({});
  try {
    const input = { TableName: tableName };
    const isNew = await client
      .send(
        new sdk.CreateTableCommand({
          ...input,
          BillingMode: 'PAY_PER_REQUEST',
          AttributeDefinitions: [{ AttributeName: keyAttribute, AttributeType: 'S' }],
          KeySchema: [{ AttributeName: keyAttribute, KeyType: 'HASH' }],
        }),
      )
      .then(
        () => true,
        (error: Error) => {
          if (error.name === 'ResourceInUseException') return false;
          throw error;
        },
      );
    await sdk.waitUntilTableExists({ client, maxWaitTime: MADE_S, minDelay: 1, maxDelay: 2 }, input);
    const { TimeToLiveDescription: ttl } = await client.send(new sdk.DescribeTimeToLiveCommand(input));
    if (!ttl?.TimeToLiveStatus?.startsWith('ENABL')) {
      const TimeToLiveSpecification = { Enabled: true, AttributeName: ttlAttribute };
      await client.send(new sdk.UpdateTimeToLiveCommand({ ...input, TimeToLiveSpecification }));
    }
    print(isNew ? `The table ${show(tableName)} is made.` : `The table ${show(tableName)} was there already.`);
    warn('leasehold doctor looks at its keys and its TTL.');
    return 0;
  } finally {
    client.destroy();
  }
}
