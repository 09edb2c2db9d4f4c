/** The place of the locks, by the options of the operators' command and by the environment. */
import type { Command } from 'commander';
import { parseSortKey } from '../lib/dynamodb/settings.ts';
import { DynamoDBLockStore } from '../lib/dynamodb/store.ts';
import { LockClient, type LockEventListener } from '../lib/index.ts';
import { KEY_ATTRIBUTE, LOCK_BUCKET_NAME, LOCK_METRICS, LOCK_TABLE_NAME, TTL_ATTRIBUTE } from '../lib/names.ts';
import { show } from '../lib/record/check.ts';
import { LOCK_STORE, type OpenStore, openStore, STORE_FORMS, takesRetention } from './open-store.ts';
import { offBy, UsageError, warn } from './terminal.ts';

/** The options of the command that name the place of the locks, as they were typed. */
interface PlaceOptions {
  readonly store?: string | undefined;
  readonly table?: string | undefined;
  readonly region?: string | undefined;
  readonly endpoint?: string | undefined;
  readonly profile?: string | undefined;
  readonly keyAttribute?: string | undefined;
  readonly sortKey?: string | undefined;
  readonly ttlAttribute?: string | undefined;
  readonly retentionDays?: string | undefined;
}

/** The place that the locks of a command live in. */
export interface Place extends OpenStore {
  readonly locks: LockClient;
}

/** The options of a table. No other store takes them. */
const OF_TABLES = ['table', 'keyAttribute', 'sortKey', 'ttlAttribute'] as const;

/** The options of what is reached through the AWS SDK, and the SDK's variables for them. */
const OF_AWS = { region: 'AWS_REGION', endpoint: 'AWS_ENDPOINT_URL', profile: 'AWS_PROFILE' } as const;

/** Adds the options that name the place of the locks. */
export function addPlaceOptions(command: Command): Command {
  return command
    .optionsGroup('The place of the locks:')
    .option('--store <url>', `${STORE_FORMS}; default: ${LOCK_STORE}, or else a table`)
    .option('--table <name>', `the lock table's name or ARN; default: ${LOCK_TABLE_NAME}`)
    .option('--region <region>', 'the AWS Region; default: AWS_REGION, or the profile says')
    .option('--endpoint <url>', 'an emulator in the place of AWS; default: AWS_ENDPOINT_URL')
    .option('--profile <name>', 'the AWS profile with the credentials; default: AWS_PROFILE')
    .option('--key-attribute <name>', `the table's partition key; default: ${KEY_ATTRIBUTE}`)
    .option('--sort-key <name=value>', "the table's sort key, and the value that all locks have there; default: none")
    .option('--ttl-attribute <name>', `the attribute that the table's TTL reads; default: ${TTL_ATTRIBUTE}`)
    .option('--retention-days <days>', 'the days that a record outlives its lease, in a table or on Redis; default: 7');
}

/**
 * Makes the action of a command: opens the place, runs the command, sets the exit status, and closes the place.
 * @param tableName the table's name if neither an option nor the environment names a place.
 */
export const atPlace =
  <Args extends unknown[], Options>(
    run: (place: Place, options: Options, ...args: Args) => Promise<number>,
    tableName?: string,
  ) =>
  async (...given: unknown[]): Promise<void> => {
    const command = given.at(-1) as Command;
    const options = command.optsWithGlobals<PlaceOptions & Options>();
    const place = await openPlace(options, tableName);
    try {
      const locks = new LockClient({ store: place.store, onEvent: clockTeller() });
      process.exitCode = await run({ ...place, locks }, options, ...(given.slice(0, -2) as Args));
    } finally {
      place.close();
    }
  };

/** Tells once of a clock that is wrong. leasehold corrects for it, and who types the command can set it right. */
function clockTeller(): LockEventListener {
  let isTold = false;
  return ({ skewMs }) => {
    if (skewMs === undefined || isTold) return;
    isTold = true;
    warn(`leasehold: this host's clock is ${offBy(skewMs)} the store's: set one of the two right.`);
  };
}

/** The option as it is typed: `--key-attribute`. */
const typed = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/**
 * Opens the place of the locks. An option comes before the environment, and there a store before a table.
 * @param tableName the table's name if neither an option nor the environment names a place.
 * @throws UsageError or TypeError if no place is named, or two, or an option is wrong.
 */
export async function openPlace(options: PlaceOptions, tableName?: string): Promise<OpenStore> {
  const { retentionDays: days } = options;
  const retentionDays = days === undefined ? undefined : Number(days);
  const named = urlOf(options);
  if (named !== undefined) refuseStray(named, options);
  for (const [name, variable] of Object.entries(OF_AWS)) {
    const value = options[name as keyof typeof OF_AWS];
    if (value === '')
      throw new UsageError(
        `--${name} is '', as from a variable that is not set: give a value, or leave the option out.`,
      );
    if (value !== undefined) process.env[variable] = value;
  }
  if (options.endpoint !== undefined && !URL.canParse(options.endpoint)) {
    throw new UsageError(
      `--endpoint must be a URL, such as http://localhost:8000, but it is ${show(options.endpoint)}.`,
    );
  }
  if (named !== undefined) return openStore(named.url, { retentionDays });
  const table = options.table ?? (process.env[LOCK_TABLE_NAME] ? undefined : tableName);
  const store = tableOf({ ...options, table }, retentionDays);
  return { store, title: `the table ${store.tableName}`, close() {} };
}

/** Refuses an option that a store does not take. */
function refuseStray({ url, from }: NamedStore, options: PlaceOptions): void {
  const isOfAWS = url.startsWith('s3:');
  const refused = [
    ...OF_TABLES,
    ...(takesRetention(url) ? [] : (['retentionDays'] as const)),
    ...(isOfAWS ? [] : (Object.keys(OF_AWS) as (keyof typeof OF_AWS)[])),
  ];
  const stray = refused.find((name) => options[name] !== undefined);
  if (stray !== undefined) {
    throw new UsageError(`${from} names a store that takes no ${typed(stray)}: leave one of the two out.`);
  }
}

/** A store's URL, and the option or variable that names the store. */
interface NamedStore {
  readonly url: string;
  readonly from: string;
}

/** The store's URL, and the option or variable that names the store. Undefined if the locks are in a table. */
function urlOf({ store, table }: PlaceOptions): NamedStore | undefined {
  if (store === '')
    throw new UsageError("--store is '', as from a variable that is not set: give a URL, or leave --store out.");
  if (store !== undefined) return { url: store, from: '--store' };
  if (table !== undefined) return undefined;
  const { [LOCK_STORE]: url, [LOCK_TABLE_NAME]: tableName, [LOCK_BUCKET_NAME]: bucket } = process.env;
  if (url) return { url, from: `The environment variable ${LOCK_STORE}` };
  // `attach` of a table or a bucket sets one of the two.
  if (bucket && !tableName) return { url: `s3://${bucket}`, from: `The environment variable ${LOCK_BUCKET_NAME}` };
  return undefined;
}

function tableOf(options: PlaceOptions, retentionDays: number | undefined): DynamoDBLockStore {
  const { table, sortKey } = options;
  // An operator's calls count in no metric of a job, and the metric lines would stand among the answers.
  delete process.env[LOCK_METRICS];
  if (table === undefined && !process.env[LOCK_TABLE_NAME]) {
    throw new UsageError(
      `The lock table is missing: give --table NAME or --store URL, or set ${LOCK_TABLE_NAME}, ${LOCK_BUCKET_NAME} or ${LOCK_STORE}.`,
    );
  }
  return new DynamoDBLockStore({
    tableName: table,
    keyAttribute: options.keyAttribute,
    sortKey: sortKey === undefined ? undefined : parseSortKey('--sort-key', sortKey),
    ttlAttribute: options.ttlAttribute,
    retentionDays,
  });
}
