import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DynamoDBLockStore, type DynamoDBLockStoreOptions } from '../../lib/dynamodb.ts';

type TransportName = 'the SDK' | 'the own transport';

/** The transport of the suites that run over either. The script `test:transport` sets it. */
export const TRANSPORT: TransportName =
  process.env.LEASEHOLD_TEST_TRANSPORT === 'own' ? 'the own transport' : 'the SDK';

/**
 * The servers of the suites that run on each server. Amazon's own server takes half a minute of a processor: it judges in
 * `npm run test:transport`, and in `npm test` where no other server runs.
 */
export const serversToTry = <Server extends { readonly server: string; readonly missing?: string | undefined }>(
  servers: readonly Server[],
): readonly Server[] => {
  const isJudge = ({ server }: Server) => server === 'dynamodb-local';
  const hasOther = servers.some((server) => !isJudge(server) && !server.missing);
  return TRANSPORT === 'the own transport' || !hasOther ? servers : servers.filter((server) => !isJudge(server));
};

/**
 * Makes a store that reaches an endpoint over a transport. The own transport reads the endpoint from the environment at the
 * first request, so this request is made here: it asks for a key that is not there, and `forget` is called afterwards.
 */
export async function storeOver(
  transport: TransportName,
  { endpoint, client }: { readonly endpoint: string; readonly client: () => DynamoDBClient },
  options: DynamoDBLockStoreOptions,
  forget: () => void = () => {},
): Promise<DynamoDBLockStore> {
  if (transport === 'the SDK') return new DynamoDBLockStore({ client: client(), ...options });
  Object.assign(process.env, { AWS_REGION: 'us-east-1', AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' });
  const { AWS_ENDPOINT_URL: before = '' } = process.env;
  process.env.AWS_ENDPOINT_URL = endpoint;
  const store = new DynamoDBLockStore(options);
  const first = store.read('nobody', { consistent: false });
  process.env.AWS_ENDPOINT_URL = before;
  await first.catch(() => {});
  forget();
  return store;
}
