import { PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { LockClient, LockStoreError } from '../../lib/index.ts';
import { S3LockStore, type S3LockStoreOptions } from '../../lib/s3.ts';
import { listed } from '../support/listed.ts';
import { clientOf } from './questions.ts';
import { S3Server, type S3ServerOptions } from './server.ts';

const HOUR = 3_600_000;
const bucket = 'locks';
let server: S3Server;
let clients: S3Client[];

async function start(options: S3ServerOptions = {}, name = bucket): Promise<void> {
  server = await S3Server.start({ bareEtags: true, ...options });
  server.makeBucket(name);
  server.log.length = 0;
}
beforeEach(async () => {
  clients = [];
  await start();
});
afterEach(async () => {
  for (const client of clients) client.destroy();
  await server.stop();
});

function client(maxAttempts = 1): S3Client {
  const made = clientOf({ endpoint: server.endpoint, bucket }, maxAttempts);
  clients.push(made);
  return made;
}
const makeStore = (options: S3LockStoreOptions = {}) => new S3LockStore({ bucket, client: client(), ...options });
/** The requests since the last call. */
const requests = () => server.log.splice(0).map((line) => line.replace(/ \S+ /, ' '));

const now = Date.now();
const acquire = (lockId: string, key = 'job') => ({
  key,
  lockId,
  owner: lockId,
  now,
  until: now + 30_000,
  leaseMs: 30_000,
});
const write = (name: string, Body: string) => client().send(new PutObjectCommand({ Bucket: bucket, Key: name, Body }));

describe('the requests of a lock', () => {
  test('a first acquire reads and writes, a heartbeat and a release write once, and the next acquire of the key, too', async () => {
    const locks = new LockClient({ store: makeStore() });
    const lease = await locks.acquire('job');
    expect(requests()).toEqual(['GET 404', 'PUT 200']);
    await lease.renew();
    expect(requests()).toEqual(['PUT 200']);
    await lease.commit({ current: 'a' });
    expect(requests()).toEqual(['PUT 200']);
    await lease.release();
    expect(requests()).toEqual(['PUT 200']);
    await (await locks.acquire('job')).release();
    expect(requests()).toEqual(['PUT 200', 'PUT 200']);
  });

  test('a try that finds the lock busy reads once', async () => {
    await makeStore().acquire(acquire('anna'));
    requests();
    const store = makeStore();
    for (let tries = 0; tries < 3; tries++) await store.acquire(acquire('bert'));
    expect(requests()).toEqual(['GET 200', 'GET 200', 'GET 200']);
  });

  test('an acquire of a lock that others have used meanwhile writes, is told of the miss, reads, and writes again', async () => {
    const [one, other] = [makeStore(), makeStore()];
    await one.acquire(acquire('anna'));
    await one.release({ key: 'job', lockId: 'anna', now, holdAtLeastMs: 0 });
    await other.acquire({ ...acquire('bert'), now: now + 1 });
    await other.release({ key: 'job', lockId: 'bert', now: now + 2, holdAtLeastMs: 0 });
    requests();
    const { applied, record } = await one.acquire({ ...acquire('carl'), now: now + 3 });
    expect(applied).toBe(true);
    expect(record?.fencingToken).toBe(now + 3);
    expect(requests()).toEqual(['PUT 412', 'GET 200', 'PUT 200']);
  });
});

describe('a lost answer', () => {
  test.each([
    ['a connection that breaks after the write', { do: 'loseAnswer' } as const],
    ['a 500 after the write', { do: 'failAfter', status: 500 } as const],
  ])('of the SDK, which sends again by itself, is found in the object: %s', async (_, fault) => {
    const store = new S3LockStore({ bucket, client: client(3) });
    server.faults.push({ ...fault, method: 'PUT' });
    expect(await store.acquire(acquire('anna'))).toMatchObject({ applied: true, record: { lockId: 'anna' } });
    expect(requests()).toEqual(['GET 404', 'PUT 200', 'PUT 412', 'GET 200']);
    server.faults.push({ ...fault, method: 'PUT' });
    expect((await store.renew({ key: 'job', lockId: 'anna', until: now + 40_000 })).applied).toBe(true);
    server.faults.push({ ...fault, method: 'PUT' });
    const release = { key: 'job', lockId: 'anna', now, holdAtLeastMs: 0 };
    expect((await store.release(release)).applied).toBe(true);
  });

  test.each([
    ['a connection that breaks after the write', { do: 'loseAnswer' } as const],
    ['a 503 after the write', { do: 'failAfter', status: 503 } as const],
  ])('of a client that sends once costs nothing: %s', async (_, fault) => {
    const locks = new LockClient({ store: makeStore() });
    server.faults.push({ ...fault, method: 'PUT' });
    const lease = await locks.acquire('job');
    server.faults.push({ ...fault, method: 'PUT' });
    await lease.renew();
    server.faults.push({ ...fault, method: 'PUT' });
    await lease.commit(1);
    server.faults.push({ ...fault, method: 'PUT' });
    expect(await lease.release()).toBe(true);
    expect((await locks.inspect('job'))?.committed?.data).toBe(1);
  });

  test('tells that a write which missed may have been applied before, if the SDK sent it twice', async () => {
    const sdk = client(3);
    const store = new S3LockStore({ bucket, client: sdk });
    await store.acquire(acquire('anna'));
    const other = makeStore();
    await other.read('job', { consistent: true });
    // The first sending is applied. Before the second, another write overtakes it.
    let sendings = 0;
    sdk.middlewareStack.add(
      (next) => async (args) => {
        if (++sendings === 2) await other.forceRelease({ key: 'job', lockId: 'anna', immediately: true });
        return next(args);
      },
      { step: 'finalizeRequest', priority: 'low' },
    );
    server.faults.push({ do: 'loseAnswer', method: 'PUT' });
    expect(await store.renew({ key: 'job', lockId: 'anna', until: now + 40_000 })).toMatchObject({
      applied: false,
      maybeAppliedBefore: true,
      record: { releasedBy: 'anna' },
    });
  });
});

describe('a miss', () => {
  test.each([
    [409, '<html>'],
    [412, '<html>'],
    [404, undefined],
  ])('with the status %d is read again, and nothing is refused by it', async (status, body) => {
    const store = makeStore();
    await store.acquire(acquire('anna'));
    requests();
    server.faults.push({ do: 'refuse', status, method: 'PUT', ...(body && { body }) });
    expect((await store.renew({ key: 'job', lockId: 'anna', until: now + 40_000 })).applied).toBe(true);
    expect(requests()).toEqual([`PUT ${status}`, 'GET 200', 'PUT 200']);
  });

  test('eight times in a row is a conflict, which may be sent again', async () => {
    for (let n = 0; n < 8; n++) server.faults.push({ do: 'refuse', status: 412, method: 'PUT' });
    await expect(makeStore().acquire(acquire('anna'))).rejects.toMatchObject({ conflict: true, transient: true });
  });

  test('of a bucket that is gone is told as such', async () => {
    const store = makeStore();
    await store.acquire(acquire('anna'));
    server.faults.push({ do: 'refuse', status: 404, code: 'NoSuchBucket', method: 'PUT' });
    await expect(store.renew({ key: 'job', lockId: 'anna', until: now + 40_000 })).rejects.toThrow(
      "there is no bucket 'locks': create it, or mend LOCK_BUCKET_NAME or bucket.",
    );
  });
});

describe('a fault', () => {
  const failure = async (fault: S3Server['faults'][number], store = makeStore()): Promise<LockStoreError> => {
    server.faults.push(fault);
    const thrown = await store.acquire(acquire('anna')).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(LockStoreError);
    return thrown as LockStoreError;
  };

  test.each([
    [
      'no permission to read',
      { method: 'GET', status: 403 },
      /s3:GetObject on the object, and s3:ListBucket on the bucket: without/,
    ],
    ['no permission to write', { method: 'PUT', status: 403 }, /grant s3:PutObject on the object, and look for a Deny/],
    [
      'another Region',
      { method: 'GET', status: 301, code: 'PermanentRedirect' },
      /another Region than the bucket's: set AWS_REGION/,
    ],
    ['a missing bucket', { method: 'GET', status: 404, code: 'NoSuchBucket' }, /there is no bucket 'locks'/],
    [
      'an archived object',
      { method: 'GET', status: 403, code: 'InvalidObjectState' },
      /moved to an archive: restore it/,
    ],
    [
      'a server without conditional writes',
      { method: 'PUT', status: 501, code: 'NotImplemented' },
      /is no place for locks/,
    ],
  ])('that somebody must mend does not pass, and its message says what to do: %s', async (_, fault, message) => {
    const error = await failure({ do: 'refuse', ...fault });
    expect(error).toMatchObject({ transient: false, message: expect.stringMatching(message) });
  });

  test.each([
    ['a slow down', { do: 'refuse', status: 503, method: 'PUT' } as const],
    ['an error of the server', { do: 'refuse', status: 500, method: 'GET' } as const],
    ['a broken connection', { do: 'loseRequest', method: 'GET' } as const],
  ])('of the moment passes, and is dated if an answer came: %s', async (_, fault) => {
    const error = await failure(fault);
    expect(error.transient).toBe(true);
    if (fault.do === 'refuse') expect(Math.abs((error.serverDate ?? 0) - Date.now())).toBeLessThan(5_000);
  });

  test('of a reading that breaks off in the middle passes', async () => {
    await makeStore().acquire(acquire('anna'));
    const error = await failure({ do: 'cutBody', method: 'GET' });
    expect(error.transient).toBe(true);
  });

  test('of a reading that falls silent in the middle ends with the signal', async () => {
    await makeStore().acquire(acquire('anna'));
    server.faults.push({ do: 'hangBody', method: 'GET' });
    const reading = makeStore().read('job', { consistent: true }, AbortSignal.timeout(100));
    await expect(reading).rejects.toThrow(LockStoreError);
  });

  test('of the time in the signature is told with the date, and the SDK does not send the same moments again', async () => {
    server.dateOffsetMs = HOUR;
    const error = await failure(
      { do: 'refuse', status: 403, code: 'RequestTimeTooSkewed' },
      new S3LockStore({ bucket, client: client(3) }),
    );
    expect(error).toMatchObject({ misdated: true, transient: true });
    expect(Math.abs((error.serverDate ?? 0) - Date.now() - HOUR)).toBeLessThan(5_000);
    expect(requests()).toEqual(['GET 403']);
  });

  describe.each([
    ['without a body', ''],
    ['that is HTML', '<html><body>default backend - 404</body></html>'],
    ['that is a text', 'default backend - 404'],
    ['that is JSON', '{"message":"Not Found"}'],
  ])('of a page with the status 404 %s', (_, body) => {
    const page = { do: 'refuse', status: 404, body } as const;

    test.each(['GET', 'PUT'] as const)(
      'to a %s passes, and its message names the status and the server',
      async (method) => {
        const store = makeStore();
        await store.acquire(acquire('anna', 'other'));
        server.faults.push({ ...page, method });
        const thrown = await store.acquire(acquire('anna')).catch((error: unknown) => error);
        expect(thrown).toMatchObject({
          transient: true,
          message: expect.stringMatching(
            /^http:\/\/127\.0\.0\.1:\d+ answered s3:(Get|Put)Object on the bucket 'locks' with the status 404, and not as S3 does: check AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3 and the proxies/,
          ),
        });
      },
    );

    test('hides no holder, and ends no lease', async () => {
      const store = makeStore();
      await store.acquire(acquire('anna'));
      server.faults.push(page);
      await expect(store.read('job', { consistent: true })).rejects.toMatchObject({ transient: true });
      server.faults.push(page, page);
      const renew = { key: 'job', lockId: 'anna', until: now + 40_000 };
      await expect(store.renew(renew)).rejects.toMatchObject({ transient: true });
      await expect(store.renew(renew)).rejects.toMatchObject({ transient: true });
      expect((await store.renew(renew)).applied).toBe(true);
    });

    test('is a finding of check, and no setting that was never made', async () => {
      server.faults.push(page);
      expect(await makeStore().check()).toEqual([
        { severity: 'error', message: expect.stringContaining('with the status 404, and not as S3 does') },
      ]);
      server.faults.push({ ...page, setting: 'lifecycle' });
      expect(await makeStore().check()).toEqual([
        { severity: 'warning', message: expect.stringContaining('with the status 404, and not as S3 does') },
      ]);
    });
  });

  test('of a proxy that makes ETags weak does not pass, and nothing is granted that nobody could release', async () => {
    const store = makeStore();
    await store.acquire(acquire('anna'));
    await store.release({ key: 'job', lockId: 'anna', now, holdAtLeastMs: 0 });
    server.hasWeakEtags = true;
    requests();
    const weak = {
      transient: false,
      message: expect.stringMatching(
        /^the answer to s3:GetObject on the bucket 'locks' has the weak ETag W\/"\w+", .* compresses\. Switch off its/,
      ),
    };
    await expect(makeStore().acquire({ ...acquire('bert'), now: now + 1 })).rejects.toMatchObject(weak);
    expect(requests()).toEqual(['GET 200']);
    const locks = new LockClient({ store: makeStore() });
    await expect(locks.tryAcquire('new')).rejects.toMatchObject({ transient: false, attempts: 1 });
    expect(requests()).toEqual(['GET 404', 'PUT 200']);
  });

  test('of a server that gives no ETag is no grant', async () => {
    const made = client();
    made.middlewareStack.add(
      (next) => async (args) => {
        const result = await next(args);
        return { ...result, output: { ...(result.output as object), ETag: undefined } as never };
      },
      { step: 'initialize' },
    );
    const store = new S3LockStore({ bucket, client: made });
    await expect(store.acquire(acquire('anna'))).rejects.toThrow("s3:PutObject on the bucket 'locks' has no ETag");
  });
});

test('a client of its own takes its endpoint, Region and credentials from the environment', async () => {
  const environment = {
    AWS_ENDPOINT_URL_S3: server.endpoint,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'local',
    AWS_SECRET_ACCESS_KEY: 'local',
    LOCK_BUCKET_NAME: bucket,
  };
  const before = Object.fromEntries(Object.keys(environment).map((name) => [name, process.env[name]]));
  Object.assign(process.env, environment);
  try {
    const store = new S3LockStore();
    server.faults.push({ do: 'refuse', status: 503 });
    await expect(store.acquire(acquire('anna'))).rejects.toMatchObject({ transient: true, attempts: 1 });
    expect((await store.acquire(acquire('anna'))).applied).toBe(true);
    expect(store).toMatchObject({ bucket, prefix: 'locks/', maxInFlight: 50 });
  } finally {
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
});

describe('objects', () => {
  test('have names that a policy can be written for', async () => {
    await makeStore().acquire(acquire('anna', 'jobs/Nightly é'));
    await makeStore({ prefix: '' }).acquire(acquire('anna', 'b'));
    expect(server.log.filter((line) => line.startsWith('PUT')).map((line) => line.split(' ')[1])).toEqual([
      'locks/jobs/%4eightly%20%c3%a9',
      'b',
    ]);
  });

  test('of other programs under the prefix are left as they are, and hide no lock', async () => {
    const store = makeStore();
    await store.acquire(acquire('anna', 'mine'));
    await write('locks/theirs', 'a text');
    await write(`locks/${'x'.repeat(900)}~`, 'null');
    await write('locks/dump~', 'x'.repeat(1_000_001));
    await write('locks/Capital', '{}');
    await write('locks/large', 'x'.repeat(1_000_001));
    for (const [key, why] of [
      ['theirs', 'its content is no JSON'],
      ['large', 'it has 1000001 bytes'],
    ] as const) {
      const message = expect.stringContaining(why);
      await expect(store.acquire(acquire('bert', key))).rejects.toMatchObject({
        foreign: true,
        transient: false,
        message,
      });
    }
    const { records } = await store.list('');
    expect(records.map(({ key }) => key)).toEqual(['mine']);
  });

  test('are listed by pages of 100, which are read 8 at a time, so that a page fits its time-out', async () => {
    const store = makeStore();
    const keys = Array.from({ length: 120 }, (_, i) => (i % 10 ? `job-${i}` : `${'é'.repeat(500)}${i}`));
    await Promise.all(keys.map((key) => store.acquire(acquire('anna', key))));
    requests();
    Object.assign(server, { readMs: 5, mostReads: 0 });
    const first = await store.list('');
    expect(first.records).toHaveLength(100);
    const second = await store.list('', first.cursor);
    expect([...first.records, ...second.records].map(({ key }) => key).sort()).toEqual(keys.sort());
    expect(second.cursor).toBeUndefined();
    expect(server.mostReads).toBe(8);
  }, 30_000);

  test('of long keys are listed by the beginnings of their keys', async () => {
    const store = makeStore();
    const keys = ['%', 'é'].map((last) => '/'.repeat(3) + '%'.repeat(1_000) + last);
    for (const key of keys) await store.acquire(acquire('anna', key));
    for (const prefix of ['', '///%', keys[0]?.slice(0, 900) ?? '', keys[0] ?? '']) {
      const { records } = await store.list(prefix);
      expect(records.map(({ key }) => key).sort()).toEqual(keys.filter((key) => key.startsWith(prefix)).sort());
    }
  });
});

test('a bucket of S3 Express is listed by folders, in any order and by pages, and its locks are found by any prefix', async () => {
  await server.stop();
  const express = 'locks--use1-az4--x-s3';
  await start({ express: true, etags: 'random', pageSize: 2 }, express);
  server.settings.session =
    '<CreateSessionResult><Credentials><AccessKeyId>a</AccessKeyId><SecretAccessKey>b</SecretAccessKey><SessionToken>c</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></CreateSessionResult>';
  const store = makeStore({ bucket: express });
  const keys = ['jobs/a', 'jobs/b', 'jobs/ba', 'jobs/c', 'other'];
  for (const key of keys) await store.acquire(acquire('anna', key));
  for (const prefix of ['', 'jobs', 'jobs/', 'jobs/b', 'none']) {
    const found = await listed(store, prefix);
    expect(found.map(({ key }) => key).sort()).toEqual(keys.filter((key) => key.startsWith(prefix)));
  }
  expect(await store.check()).toEqual([]);
});

describe('bad input', () => {
  test.each([
    [
      'no bucket',
      {},
      "bucket is missing: give the bucket's name, or set LOCK_BUCKET_NAME, which is not set. A test calls installMemoryStore() first.",
    ],
    [
      'a bucket with a slash',
      { bucket: 'a/b/c' },
      "bucket must be a bucket's name, or the ARN of an access point in one Region, but it is 'a/b/c'.",
    ],
    [
      'an access point of several Regions',
      { bucket: 'arn:aws:s3::111122223333:accesspoint/mfzwi23gnjvgw.mrap' },
      /^bucket must be .* in one Region, but it is 'arn:aws:s3::1111/,
    ],
    [
      'a prefix without an end',
      { bucket, prefix: 'locks' },
      "prefix must be at most 512 characters, as 'jobs/locks/', or '', but it is 'locks'.",
    ],
    ['a prefix with dots alone', { bucket, prefix: '../' }, /^prefix must be/],
    [
      'a client of DynamoDB',
      { bucket, client: { send() {}, config: { serviceId: 'DynamoDB' } } as never },
      'client must be an S3Client, but it is object [object Object].',
    ],
    [
      'a misspelled option',
      { buckett: bucket } as never,
      "S3LockStore has no option 'buckett'; did you mean 'bucket'?",
    ],
  ])('%s is a TypeError that shows the value', (_, options, message) => {
    expect(() => new S3LockStore(options)).toThrow(message);
    expect(() => new S3LockStore(options)).toThrow(TypeError);
  });
});

describe('check', () => {
  const rules = (...all: string[]) =>
    `<LifecycleConfiguration>${all.map((rule) => `<Rule><ID>old</ID><Status>Enabled</Status>${rule}</Rule>`).join('')}</LifecycleConfiguration>`;
  const check = async (settings: Record<string, string>) => {
    Object.assign(server.settings, settings);
    return new LockClient({ store: makeStore() }).check();
  };

  test('finds nothing in a plain bucket, and in one whose rules are as those of a LockBucket', async () => {
    expect(await check({})).toEqual([]);
    const good =
      '<Filter><Prefix>locks/</Prefix></Filter><Expiration><Days>32</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>';
    const versioning = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>';
    expect(await check({ lifecycle: rules(good), versioning })).toEqual([]);
  });

  test('finds S3 Object Lock, and old versions that nothing removes', async () => {
    const found = await check({
      'object-lock':
        '<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>',
      versioning: '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>',
      lifecycle: rules(
        '<Filter><Prefix>other/</Prefix></Filter><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>',
      ),
    });
    expect(found).toEqual([
      { severity: 'error', message: expect.stringMatching(/^The bucket 'locks' has S3 Object Lock/) },
      {
        severity: 'warning',
        message: expect.stringMatching(/8,640 a day\. Add a rule .* under 'locks\/' after 1 day/),
      },
    ]);
  });

  test('finds rules that delete or archive the objects of locks', async () => {
    const found = await check({
      lifecycle: rules(
        '<Filter><Prefix></Prefix></Filter><Expiration><Days>25</Days></Expiration>',
        '<Filter><Prefix>locks/jobs/</Prefix></Filter><Expiration><Date>2027-01-01T00:00:00Z</Date></Expiration>',
        '<Filter><Prefix>locks/</Prefix></Filter><Transition><Days>1</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition>',
        '<Filter><Prefix>others/</Prefix></Filter><Expiration><Days>1</Days></Expiration>',
        '<Filter><Tag><Key>a</Key><Value>b</Value></Tag></Filter><Expiration><Days>1</Days></Expiration>',
        '<Filter><Prefix>locks/</Prefix></Filter><Expiration><Days>26</Days></Expiration>',
      ),
    });
    expect(found.map(({ severity, message }) => `${severity}: ${message.replace(/, and a lease.*/, '')}`)).toEqual([
      "error: The rule 'old' of the lifecycle of the bucket 'locks' deletes locks 25 days after their last write",
      "error: The rule 'old' of the lifecycle of the bucket 'locks' deletes locks on 2027-01-01",
      "error: The rule 'old' of the lifecycle of the bucket 'locks' archives locks to DEEP_ARCHIVE, where nobody can take them. Leave 'locks/' out of the rule.",
    ]);
  });

  test('finds a bucket that does not exist or may not be listed, and settings that may not be read', async () => {
    server.faults.push({ do: 'refuse', status: 403 });
    expect(await check({})).toEqual([
      { severity: 'error', message: expect.stringMatching(/is not allowed: grant s3:ListBucket on the bucket/) },
    ]);
    expect(await check({ versioning: '403', lifecycle: '403', 'object-lock': '403' })).toEqual(
      ['s3:GetBucketObjectLockConfiguration', 's3:GetBucketVersioning', 's3:GetLifecycleConfiguration'].map(
        (permission) => ({ severity: 'warning', message: expect.stringContaining(permission) }),
      ),
    );
    const nobody = new LockClient({ store: makeStore({ bucket: 'nobody' }) });
    expect(await nobody.check()).toEqual([{ severity: 'error', message: expect.stringMatching(/there is no bucket/) }]);
  });
});
