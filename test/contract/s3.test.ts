import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, describe } from '@jest/globals';
import { S3LockStore } from '../../lib/s3.ts';
import { clientOf, makeBucket } from '../s3/questions.ts';
import { S3Server, type S3ServerOptions } from '../s3/server.ts';
import { aboveTheStore } from './above-the-store.ts';
import { changeContent, damagedRecords } from './damaged-records.ts';
import { lockStoreContract } from './lock-store-contract.ts';
import { sameAsMemory } from './same-as-memory.ts';

const VARIANTS: [string, string, S3ServerOptions][] = [
  ['a plain server', 'locks', {}],
  ['a server with random ETags and pages of 2', 'locks', { etags: 'random', pageSize: 2 }],
  ['a server with slow writes, which meet one another', 'locks', { writeMs: 2 }],
];

describe.each(VARIANTS)('S3LockStore on %s', (_, bucket, options) => {
  const servers: S3Server[] = [];
  const makePlace = async () => {
    const server = await S3Server.start(options);
    servers.push(server);
    const place = { endpoint: server.endpoint, bucket };
    await makeBucket(place);
    const client = clientOf(place);
    return { client, store: new S3LockStore({ bucket, client }) };
  };
  const makeStore = async () => (await makePlace()).store;
  afterAll(() => Promise.all(servers.map((server) => server.stop())));

  lockStoreContract(makeStore, { dated: 'writes' });
  sameAsMemory(makeStore, { runs: 12 });
  if (Object.keys(options).length > 0) return;
  aboveTheStore(makeStore);

  damagedRecords(async () => {
    const { client, store } = await makePlace();
    const objectOf = (key: string) => ({ Bucket: bucket, Key: `locks/${key}` });
    const raw = async (key: string) => {
      const { Body } = await client.send(new GetObjectCommand(objectOf(key)));
      return (await Body?.transformToString()) ?? '';
    };
    return {
      store,
      raw,
      change: async (key, fields) =>
        client.send(new PutObjectCommand({ ...objectOf(key), Body: changeContent(await raw(key), fields) })),
    };
  });
});
