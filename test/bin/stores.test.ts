import { mkdtempSync, readdirSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { type OpenStore, openStore } from '../../bin/open-store.ts';
import { connectRedis, end, LIBRARIES, type RedisServer as RedisAddress } from '../../bin/redis-clients.ts';
import { LockClient, LockStoreError } from '../../lib/index.ts';
import { RedisLockStore } from '../../lib/redis.ts';
import { S3Server } from '../s3/server.ts';
import { needing } from '../support/needing.ts';
import { isRedisInstalled, RedisServer } from '../support/redis-servers.ts';
import { leaseholdIn } from './run.ts';

// A busy machine needs more time than Jest's default.
jest.setTimeout(30_000);

const REDIS = isRedisInstalled ? undefined : 'install redis-server';

/** A place of locks for the tests of one store. */
interface Place extends AsyncDisposable {
  readonly url: string;
  /** The variables by which a process reaches the place. */
  readonly environment?: Record<string, string>;
  /** A part of the finding, or of the sentence that there is none, which `leasehold check` prints. */
  readonly finding: string;
}

const PLACES: Record<string, { readonly missing?: string | undefined; start(): Promise<Place> }> = {
  files: {
    async start() {
      const directory = mkdtempSync(join(tmpdir(), 'leasehold of an operator '));
      return {
        url: pathToFileURL(directory).href,
        finding: 'lies on a local disk: its locks exclude the processes of this machine alone',
        [Symbol.asyncDispose]: async () => rmSync(directory, { recursive: true }),
      };
    },
  },
  S3: {
    async start() {
      const server = await S3Server.start();
      server.makeBucket('jobs');
      const environment = {
        // No host has the name `jobs.localhost`: the bucket's name must stand in the path.
        AWS_ENDPOINT_URL_S3: server.endpoint.replace('127.0.0.1', 'localhost'),
        AWS_REGION: 'us-east-1',
        AWS_ACCESS_KEY_ID: 'local',
        AWS_SECRET_ACCESS_KEY: 'local',
      };
      return {
        url: 's3://jobs/nightly/locks',
        environment,
        finding: 'Nothing is wrong with the place of the locks.',
        [Symbol.asyncDispose]: () => server.stop(),
      };
    },
  },
  Redis: {
    missing: REDIS,
    async start() {
      const server = await RedisServer.start();
      return {
        url: `${server.url}/3`,
        finding: 'The server keeps no log of its writes',
        [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
      };
    },
  },
};

for (const [name, { missing, start }] of Object.entries(PLACES)) {
  const { describe, test } = needing(missing);

  describe(`the command leasehold on ${name}`, () => {
    let place: Place;
    let opened: OpenStore;
    let locks: LockClient;
    beforeAll(async () => {
      place = await start();
      Object.assign(process.env, place.environment);
      opened = await openStore(place.url);
      locks = new LockClient({ store: opened.store, owner: 'anna' });
    });
    afterAll(async () => {
      opened?.close();
      await place?.[Symbol.asyncDispose]();
    });
    const leasehold = (...args: string[]) =>
      leaseholdIn({ ...place.environment, LOCK_TABLE_NAME: 'another', LOCK_STORE: place.url }, args);

    test('lists, shows, ends and repairs locks, and its process ends by itself', async () => {
      const { lockId } = await locks.acquire('nightly-report', { holdAtLeastMs: 60_000 });
      await (await locks.acquire('hourly')).release();
      expect(await leasehold('list', 'nightly-')).toEqual({
        status: 0,
        out: expect.stringMatching(/^nightly-report {2}held by anna, opens in [^,]+ unless renewed\n$/),
        err: '',
      });
      const shown = await leasehold('inspect', 'nightly-report', '--json');
      expect(JSON.parse(shown.out)).toMatchObject({ lockId, owner: 'anna' });
      const ended = await leasehold('force-release', 'nightly-report', '--lock-id', lockId);
      expect(ended).toMatchObject({ status: 0, out: expect.stringContaining("'nightly-report' is closed, opens in") });
      const repaired = await leasehold('repair', 'nightly-report');
      expect(repaired).toMatchObject({ status: 0, out: expect.stringContaining("'nightly-report' is free.") });
    });

    test('lists and shows each lock, though one has data that are nested too deep to give back', async () => {
      const deep = '['.repeat(8_000) + ']'.repeat(8_000);
      const grant = { lockId: 'x', owner: 'mallory', now: Date.now(), until: Date.now() + 60_000, leaseMs: 60_000 };
      for (const key of ['deep/a', 'deep/b', 'deep/c']) {
        await opened.store.acquire({ key, ...grant, data: key === 'deep/b' ? deep : '{"step":1}' });
      }
      const listed = await leasehold('ls', 'deep/', '--json', '--sort', 'key');
      expect({ status: listed.status, err: listed.err }).toEqual({ status: 0, err: '' });
      const lines = listed.out.trim().split('\n');
      const told = lines.map((line) => JSON.parse(line));
      expect(told.map(({ key, data }) => [key, data])).toEqual([
        ['deep/a', { step: 1 }],
        ['deep/b', deep],
        ['deep/c', { step: 1 }],
      ]);
      expect(JSON.parse((await leasehold('show', 'deep/b', '--json')).out).data).toBe(deep);
      expect(await leasehold('show', 'deep/b')).toMatchObject({ status: 0, out: expect.stringContaining('mallory') });
    });

    test('takes the store of --store before LOCK_STORE', async () => {
      const variables = { ...place.environment, LOCK_STORE: 'nonsense' };
      expect(await leaseholdIn(variables, ['list', 'none', '--store', place.url])).toEqual({
        status: 0,
        out: '',
        err: '',
      });
    });

    test('checks the place of the locks', async () => {
      const { status, out } = await leasehold('check');
      expect({ status, out }).toEqual({ status: 0, out: expect.stringContaining(place.finding) });
    });
  });
}

test('the command leasehold deletes old locks in files, and no younger ones', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'leasehold-'));
  try {
    const url = pathToFileURL(directory).href;
    const { store } = await openStore(url);
    const week = new Date(Date.now() - 7 * 86_400_000);
    for (const [key, at] of [
      ['old', week.getTime()],
      ['young', Date.now()],
    ] as const) {
      const grant = { key, lockId: 'anna', owner: 'anna', now: at, until: at + 1_000, leaseMs: 1_000 };
      await store.acquire(grant);
      await store.release({ ...grant, holdAtLeastMs: 0 });
    }
    for (const name of readdirSync(join(directory, 'old'))) utimesSync(join(directory, 'old', name), week, week);
    const prune = (days: string) => leaseholdIn({}, ['prune', '--older-than', days, '--store', url]);
    expect(await prune('8')).toEqual({ status: 0, out: '0 locks were deleted.\n', err: '' });
    expect(await prune('6.5')).toEqual({ status: 0, out: '1 lock was deleted.\n', err: '' });
    expect(readdirSync(directory)).toEqual(expect.arrayContaining(['young']));
    expect(readdirSync(directory)).not.toContain('old');
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('the command leasehold takes the bucket of LOCK_BUCKET_NAME if nothing else names a place', async () => {
  await using server = await S3Server.start();
  server.makeBucket('jobs');
  const environment = {
    AWS_ENDPOINT_URL_S3: server.endpoint,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'local',
    AWS_SECRET_ACCESS_KEY: 'local',
    LOCK_BUCKET_NAME: 'jobs',
    LOCK_TABLE_NAME: '',
    LOCK_STORE: '',
  };
  expect(await leaseholdIn(environment, ['check'])).toEqual({
    status: 0,
    out: expect.stringMatching(
      /^(ok: [a-z ]+ is allowed, and took \d+ ms\.\n){4}Nothing is wrong with the place of the locks\.\n$/,
    ),
    err: '',
  });
  const { status, err } = await leaseholdIn({ ...environment, LOCK_TABLE_NAME: 'a table' }, ['check']);
  expect({ status, err }).toEqual({ status: 2, err: expect.stringContaining("'a table'") });
  const stray = await leaseholdIn(environment, ['check', '--sort-key', 'SK=1']);
  expect(stray.err).toContain('LOCK_BUCKET_NAME names a store that takes no --sort-key');
});

test.each([
  ['s3://jobs', 'jobs', 'locks/'],
  ['s3://jobs/', 'jobs', ''],
  ['s3://jobs/a/b', 'jobs', 'a/b/'],
  [
    's3://arn:aws:s3:eu-west-1:111122223333:accesspoint/jobs/a/',
    'arn:aws:s3:eu-west-1:111122223333:accesspoint/jobs',
    'a/',
  ],
])('the URL %s names a bucket and the beginning of the names there', async (url, bucket, prefix) => {
  expect((await openStore(url)).store).toMatchObject({ bucket, prefix });
});

test('the command leasehold on a folder that is missing says so, and lists nothing', async () => {
  const { status, out, err } = await leaseholdIn({}, ['list', '--store', 'file:/typo/locks']);
  expect({ status, out }).toEqual({ status: 3, out: '' });
  expect(err).toMatch(/'\/typo.*' \(ENOENT\): first see .* or mend --store\.$/m);
});

needing(REDIS).describe('the command leasehold on a Redis that', () => {
  let server: RedisServer | undefined;
  afterEach(() => server?.[Symbol.asyncDispose]());

  test('evicts: check says so and exits with 1, as text and as JSON', async () => {
    server = await RedisServer.start({ 'maxmemory-policy': 'allkeys-lru' });
    const finding = expect.stringContaining('its maxmemory-policy is allkeys-lru');
    const text = await leaseholdIn({}, ['check', '--store', server.url]);
    expect(text).toMatchObject({ status: 1, out: expect.stringMatching(/^error: /) });
    const [line = ''] = (await leaseholdIn({}, ['check', '--json', '--store', server.url])).out.split('\n');
    expect(JSON.parse(line)).toEqual({ severity: 'error', message: finding });
  });

  test('has locks under another prefix: the URL names the prefix, and without one the answer does', async () => {
    server = await RedisServer.start();
    const url = `${server.url}/0?prefix=${encodeURIComponent('a+b&orders:')}`;
    const { store, close } = await openStore(url);
    await new LockClient({ store, owner: 'anna' }).tryAcquire('job');
    close();
    expect((await leaseholdIn({}, ['inspect', 'job', '--store', url])).out).toContain('held by anna');
    const { status, err } = await leaseholdIn({}, ['inspect', 'job', '--store', server.url]);
    expect(status).toBe(1);
    expect(err).toBe("There is no record of the lock 'job' under the prefix 'leasehold:' on Redis: it is free.\n");
  });

  test('has a lock that somebody has damaged: ls --bad tells it, and repair mends it', async () => {
    server = await RedisServer.start();
    const { store, close } = await openStore(server.url);
    const locks = new LockClient({ store });
    const leasehold = (...args: string[]) => leaseholdIn({}, [...args, '--store', server?.url ?? '']);
    for (const key of ['h1', 'h2', 'h3']) await (await locks.acquire(key)).release();
    close();
    await server.command('HDEL', 'leasehold:{h1}', 'acquiredAt');
    expect((await leasehold('ls', '--bad')).out).toBe(
      'h1  free; somebody has changed the record: acquiredAt is missing\n',
    );
    for (const key of ['h1', 'h2']) {
      if (key === 'h2') await server.command('HDEL', 'leasehold:{h2}', 'fencingToken');
      const repaired = expect.stringContaining(`The record of '${key}' is repaired. '${key}' is free.`);
      expect(await leasehold('repair', key, '--force', '--immediately')).toMatchObject({ status: 0, out: repaired });
    }
    await server.command('DEL', 'leasehold:{h3}');
    await server.command('HSET', 'leasehold:{h3}', 'total', '12');
    const refused = await leasehold('repair', 'h3', '--force', '--immediately');
    expect(refused).toMatchObject({
      status: 3,
      err: expect.stringContaining('its fencingToken is missing. Use another'),
    });
    expect(refused.err).not.toContain('expiry lies ahead');
  });

  test('wants a password gets the password of the URL, and prints no password', async () => {
    server = await RedisServer.start({ requirepass: 'right/wo@rd' });
    const urlOf = (account: string) => `redis://${account}@127.0.0.1:${server?.port}/1`;
    const right = urlOf(`:${encodeURIComponent('right/wo@rd')}`);
    expect(await leaseholdIn({}, ['list', '--store', right])).toEqual({ status: 0, out: '', err: '' });
    const wrong = await leaseholdIn({}, ['list', '--store', urlOf('anna:hunter2')]);
    expect(wrong).toMatchObject({ status: 3, out: '', err: expect.stringContaining('WRONGPASS') });
    expect(wrong.err).not.toContain('hunter2');
  });
});

describe.each(Object.entries(LIBRARIES))('the client %s', (name, connect) => {
  const nowhere = { host: '127.0.0.1', port: 1, tls: false, username: 'anna', password: 'hunter2', db: 0 };
  const connected = (server: RedisAddress) => connectRedis(server, { [name]: connect });

  needing(REDIS).test('takes account and database, and connects again to a server that was restarted', async () => {
    await using server = await RedisServer.start({ requirepass: 'secret' });
    const account = { username: 'default', password: 'secret' };
    const { client, close } = await connected({ ...nowhere, ...account, port: server.port, db: 2 });
    try {
      const store = new RedisLockStore({ client });
      await store.read('job', { consistent: true });
      await server.kill();
      await expect(store.read('job', { consistent: true })).rejects.toThrow(LockStoreError);
      await server.restart();
      const locks = new LockClient({ store });
      const lease = await locks.acquire('job', { waitMs: 10_000 }).catch(() => locks.acquire('job'));
      await lease.release();
    } finally {
      close();
    }
  });

  needing(REDIS).test('does not show a password that the server refuses', async () => {
    await using server = await RedisServer.start({ requirepass: 'secret' });
    const refused = connected({ ...nowhere, port: server.port });
    await expect(refused).rejects.toThrow(`Connecting to Redis at 127.0.0.1:${server.port}: `);
    await expect(refused).rejects.not.toThrow('hunter2');
  });

  test('gives up at once on a server that is not there', async () => {
    await expect(connected(nowhere)).rejects.toThrow('Connecting to Redis at 127.0.0.1:1: ');
  });
});

test('a client of redis 4, which has no destroy, is disconnected, and a rejection disturbs nobody', async () => {
  const disconnect = jest.fn(async () => Promise.reject(new Error('The client is closed')));
  end({ disconnect });
  expect(disconnect).toHaveBeenCalledTimes(1);
  await new Promise(setImmediate);
});

test('without a client of Redis, the error says what to type', async () => {
  const nowhere = 'nowhere';
  const missing = { [nowhere]: () => import(nowhere) };
  const server = { host: '127.0.0.1', port: 6379, tls: false, username: undefined, password: undefined, db: 0 };
  await expect(connectRedis(server, missing)).rejects.toThrow(
    'No client of Redis is installed. Type: npm install redis (or one of ioredis, iovalkey, @valkey/valkey-glide).',
  );
});

test.each([
  ['nothing', ''],
  ['a word', 'locks'],
  ['an unknown scheme', 'ftp://host/x'],
  ['the name of a method', 'constructor:x'],
  ['a bucket without a name', 's3:///prefix'],
  ['a relative path', 'file:locks'],
  ['a path on another host', 'file://host/locks'],
  ['a server without a name', 'redis:///0'],
  ['a database that is no number', 'redis://anna:hunter2@host/zero'],
  ['a port that is no number', 'redis://anna:hunter2@host:port'],
  ['a parameter', 'rediss://host?password=hunter2'],
  ['two parameters', 'rediss://host?prefix=a&password=hunter2'],
  ['a prefix that is empty', 'redis://host?prefix='],
  ['a percent sign that escapes nothing', 'redis://anna:hunter2%@host'],
  ['an account without slashes', 'redis:anna:hunter2@host'],
  ['an account after one slash', 'rediss:/anna:hunter2@host'],
  ['an account without a server', 'redis://anna:hunter2'],
  ['an account without a scheme', 'anna:hunter2@host'],
  ['a password alone', 'hunter2@host'],
  ['a scheme in capitals', 'REDIS:anna:hunter2@host'],
  ['a fragment', 'redis://host/0#hunter2'],
  ['a percent sign in a path', 'file:/tmp/100%'],
  ['an escaped slash in a path', 'file:/a%2Fb'],
])('a URL of a store with %s is refused with the forms, and shows no password', async (_what, url) => {
  const refusal = await openStore(url).then(
    () => undefined,
    (error: Error) => error,
  );
  expect(refusal).toBeInstanceOf(TypeError);
  expect(refusal?.message).toMatch(/^A store must be s3:\/\/BUCKET\[\/PREFIX\], redis:.*file:\/PATH, but it is '/);
  expect(refusal?.message).not.toContain('hunter2');
});

test.each([
  [['list', '--store', 'file:/x', '--table', 'y'], '--store names a store that takes no --table'],
  [['list', '--store', 's3://x', '--sort-key', 'SK=1'], '--store names a store that takes no --sort-key'],
  [['list', '--store', 'file:/x', '--retention-days', '3'], '--store names a store that takes no --retention-days'],
  [['list', '--store', 'nonsense'], "but it is 'nonsense'"],
  [['list', '--store', 'file:/tmp/100%'], 'write a percent sign as %25'],
  [['list', '--store', 'file:/a%2Fb'], 'write a percent sign as %25, and a slash as it is'],
  [['list', '--store', ''], "--store is '', as from a variable that is not set: give a URL, or leave --store out."],
  [['prune', '--store', 'file:/x'], "required option '--older-than <days>' not specified"],
  [['prune', '--store', 'file:/x', '--older-than', '1d'], "from 1 to 36500, but it is '1d'."],
  [['prune', '--store', 'file:/x', '--older-than', '0.5'], "from 1 to 36500, but it is '0.5'."],
  [['prune', '--store', 's3://jobs', '--older-than', '7'], 'prune deletes locks in files alone'],
  [['list', '--store', 'file:/x', '--older-than', '7'], "unknown option '--older-than'"],
  [['check', 'nightly'], "too many arguments for 'doctor'. Expected 0 arguments but got 1"],
])('the command leasehold refuses %j', async (args, message) => {
  const { status, err } = await leaseholdIn({}, args);
  expect(status).toBe(2);
  expect(err).toContain(message);
});
