/**
 * The S3 store on servers that others wrote. `npm run test:real-s3` starts Ceph's gateway, where it is installed. With
 * S3_BUCKET, the tests go to that bucket of AWS instead, with the Region and the credentials of the environment. They leave
 * small objects under the prefix `leasehold-test/`.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { S3LockStore } from '../../lib/s3.ts';
import { aboveTheStore } from '../contract/above-the-store.ts';
import { lockStoreContract } from '../contract/lock-store-contract.ts';
import { sameAsMemory } from '../contract/same-as-memory.ts';
import { fight } from '../s3/fight.ts';
import { Asker, clientOf, makeBucket, questions, type S3Place } from '../s3/questions.ts';
import { type Ceph, KEY, missing, startCeph } from './ceph.ts';

// A request takes tens of milliseconds.
jest.setTimeout(120_000);

const { CI, S3_BUCKET } = process.env;
const isReady = S3_BUCKET !== undefined || missing.length === 0;
if (!isReady && CI) throw new Error(`Expected Ceph's gateway in CI, but there is no ${missing.join(', ')}.`);
const name = S3_BUCKET
  ? `the bucket ${S3_BUCKET} of AWS`
  : `Ceph's gateway${isReady ? '' : ' (skipped: apt-get install ceph-mon ceph-osd radosgw ceph-common, or set S3_BUCKET)'}`;

(isReady ? describe : describe.skip)(name, () => {
  let ceph: Ceph | undefined;
  let place: S3Place;
  const prefix = `leasehold-test/${randomUUID()}/`;
  beforeAll(async () => {
    if (S3_BUCKET !== undefined) {
      place = { bucket: S3_BUCKET };
      return;
    }
    ceph = await startCeph();
    place = { endpoint: ceph.endpoint, bucket: 'locks', key: KEY, secret: KEY };
    await makeBucket(place);
  });
  afterAll(() => ceph?.stop());
  const makeStore = () => new S3LockStore({ bucket: place.bucket, prefix, client: clientOf(place) });

  describe('answers as locks need:', () => {
    test.each(questions.map((question) => [question.name, question] as const))('%s', async (_, { ask, answers }) => {
      expect(answers).toContainEqual(await ask(new Asker(place)));
    });
  });

  lockStoreContract(makeStore, { dated: 'writes' });
  sameAsMemory(makeStore, { runs: 40 });
  aboveTheStore(makeStore);

  test('four processes get one lock a hundred times, one at a time', async () => {
    const { tokens, faults } = await fight({ ...place, prefix, processes: 4, grants: 25 });
    expect(faults).toEqual([]);
    expect(tokens).toHaveLength(100);
    expect(new Set(tokens).size).toBe(100);
  });

  test('its findings are none that a test bucket should not have', async () => {
    const found = await makeStore().check();
    expect(found.filter(({ severity }) => severity === 'error')).toEqual([]);
  });
});
