/** The place of the locks, by the options of the operators' command and by the environment. */
import { parseSortKey } from '../lib/dynamodb/settings.ts';
import { DynamoDBLockStore } from '../lib/dynamodb/store.ts';
import { LOCK_BUCKET_NAME, LOCK_METRICS, LOCK_TABLE_NAME } from '../lib/names.ts';
import { LOCK_STORE, type OpenStore, openStore, takesRetention } from './open-store.ts';

export class UsageError extends Error {}

/** The options of the command that name the place of the locks, as they were typed. */
interface PlaceOptions {
  readonly store?: string | undefined;
  readonly table?: string | undefined;
  readonly 'key-attribute'?: string | undefined;
  readonly 'sort-key'?: string | undefined;
  readonly 'ttl-attribute'?: string | undefined;
  readonly 'retention-days'?: string | undefined;
}

/** The options of a table. No other store takes them. */
const OF_TABLES = ['table', 'key-attribute', 'sort-key', 'ttl-attribute'] as const;

/**
 * Opens the place of the locks. An option comes before the environment, and there a store before a table.
 * @throws UsageError or TypeError if no place is named, or two, or an option is wrong.
 */
export async function openPlace(options: PlaceOptions): Promise<OpenStore> {
  const { 'retention-days': days } = options;
  const retentionDays = days === undefined ? undefined : Number(days);
  const named = urlOf(options);
  if (named === undefined) return { store: tableOf(options, retentionDays), close() {} };
  const { url, from } = named;
  const ofTable = OF_TABLES.find((name) => options[name] !== undefined);
  const stray = ofTable ?? (days === undefined || takesRetention(url) ? undefined : 'retention-days');
  if (stray !== undefined) {
    throw new UsageError(`${from} names a store that takes no --${stray}: leave one of the two out.`);
  }
  return openStore(url, { retentionDays });
}

/** The store's URL, and the option or variable that names the store. Undefined if the locks are in a table. */
function urlOf({ store, table }: PlaceOptions): { readonly url: string; readonly from: string } | undefined {
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
  const { table, 'sort-key': sortKey } = options;
  // An operator's calls count in no metric of a job, and the metric lines would stand among the answers.
  delete process.env[LOCK_METRICS];
  if (table === undefined && !process.env[LOCK_TABLE_NAME]) {
    throw new UsageError(
      `The lock table is missing: give --table NAME or --store URL, or set ${LOCK_TABLE_NAME}, ${LOCK_BUCKET_NAME} or ${LOCK_STORE}.`,
    );
  }
  return new DynamoDBLockStore({
    tableName: table,
    keyAttribute: options['key-attribute'],
    sortKey: sortKey === undefined ? undefined : parseSortKey('--sort-key', sortKey),
    ttlAttribute: options['ttl-attribute'],
    retentionDays,
  });
}
