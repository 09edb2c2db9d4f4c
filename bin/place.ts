/** The place of the locks, by the options of the operators' command and by the environment. */
import { parseSortKey } from '../lib/dynamodb/settings.ts';
import { DynamoDBLockStore } from '../lib/dynamodb/store.ts';
import { LOCK_METRICS, LOCK_TABLE_NAME } from '../lib/names.ts';
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
  const { store, table, 'retention-days': days } = options;
  const retentionDays = days === undefined ? undefined : Number(days);
  const url = store ?? (table === undefined ? process.env[LOCK_STORE] : undefined);
  if (url === undefined || url === '') return { store: tableOf(options, retentionDays), close() {} };
  const ofTable = OF_TABLES.find((name) => options[name] !== undefined);
  const stray = ofTable ?? (days === undefined || takesRetention(url) ? undefined : 'retention-days');
  if (stray !== undefined) {
    const from = store === undefined ? `The environment variable ${LOCK_STORE}` : '--store';
    throw new UsageError(`${from} names a store that takes no --${stray}: leave one of the two out.`);
  }
  return openStore(url, { retentionDays });
}

function tableOf(options: PlaceOptions, retentionDays: number | undefined): DynamoDBLockStore {
  const { table, 'sort-key': sortKey } = options;
  // An operator's calls count in no metric of a job, and the metric lines would stand among the answers.
  delete process.env[LOCK_METRICS];
  if (table === undefined && !process.env[LOCK_TABLE_NAME]) {
    throw new UsageError(
      `The lock table is missing: give --table NAME or --store URL, or set ${LOCK_TABLE_NAME} or ${LOCK_STORE}.`,
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
