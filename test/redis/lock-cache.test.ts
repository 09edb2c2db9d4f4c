// The rights of LockCache's user, and the function's code of docs/cdk/cache.md, on a server as LockCache makes one: a cluster
// of one shard, over TLS, without the user `default`.
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { LockClient } from '../../lib/lease/client.ts';
import { REDIS_ACCESS } from '../../lib/names.ts';
import { RedisLockStore } from '../../lib/redis.ts';
import { blocksOf } from '../docs/blocks.ts';
import { entries, repository } from '../docs/entries.ts';
import { CLUSTER_CLIENTS, type Connect, local, type Place } from '../support/redis-clients.ts';
import { isRedisInstalled, REDIS, RedisServer } from '../support/redis-servers.ts';

// A busy machine needs more time than Jest's default.
jest.setTimeout(30_000);
const describeHere = isRedisInstalled ? describe : describe.skip;

test('The user of docs/redis.md has the rights of LockCache’s user', () => {
  const page = readFileSync(join(repository, 'docs/redis.md'), 'utf8');
  expect(/^ACL SETUSER locks on >PASSWORD (.+)$/m.exec(page)?.[1]).toBe(REDIS_ACCESS);
});

describeHere(`A server as LockCache makes one (${REDIS})`, () => {
  let folder: string;
  let certificate: string;
  let server: RedisServer;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'leasehold-cache-'));
    certificate = join(folder, 'cert.pem');
    const key = join(folder, 'key.pem');
    const request = [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', certificate],
      ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
      // GLIDE takes no certificate of an authority for a server's.
      ...['-addext', 'basicConstraints=critical,CA:FALSE'],
    ];
    execFileSync('openssl', request, { stdio: 'pipe' });
    const tls = { 'tls-cert-file': certificate, 'tls-key-file': key, 'tls-ca-cert-file': certificate };
    const cluster = {
      'cluster-enabled': 'yes',
      'cluster-config-file': 'nodes.conf',
      'cluster-announce-ip': '127.0.0.1',
    };
    server = await RedisServer.start(
      { port: '0', ...tls, 'tls-auth-clients': 'no', 'tls-cluster': 'yes', ...cluster },
      'tls-port',
    );
    command('CLUSTER', 'ADDSLOTSRANGE', '0', '16383');
    while (!command('CLUSTER', 'INFO').includes('cluster_state:ok')) await sleep(100);
    // redis-server cannot judge a token of IAM: it takes any password of this user. The other user has a password.
    command('ACL', 'SETUSER', 'stack-locks', 'on', 'nopass', '-@all', ...REDIS_ACCESS.split(' '));
    command('ACL', 'SETUSER', 'locks', 'on', '>secret', '-@all', ...REDIS_ACCESS.split(' '));
    command('ACL', 'SETUSER', 'default', 'off');
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });
  const command = (...args: string[]) =>
    execFileSync('redis-cli', ['--tls', '--cacert', certificate, '-p', String(server.port), ...args], {
      encoding: 'utf8',
    });
  const place = (): Place => ({
    ...local(server.port),
    username: 'locks',
    password: 'secret',
    tls: readFileSync(certificate, 'utf8'),
  });

  test.each(Object.entries<Connect>(CLUSTER_CLIENTS))(
    'gives a lock to %s, and lets others wait for it',
    async (_, connect) => {
      const one = await connect(place());
      const subscriber = await connect(place());
      try {
        const locks = new LockClient({
          store: new RedisLockStore({ client: one.client, subscriber: subscriber.client }),
        });
        const lease = await locks.acquire('job');
        expect(await locks.tryAcquire('job')).toBeNull();
        const next = locks.acquire('job', { waitMs: 10_000 });
        await lease.commit('a note');
        await sleep(50);
        await lease.release();
        await (await next).release();
        expect((await Array.fromAsync(locks.list())).map(({ key }) => key)).toEqual(['job']);
        expect((await locks.check()).filter(({ severity }) => severity === 'error')).toEqual([]);
        const elsewhere = new LockClient({ store: new RedisLockStore({ client: one.client, keyPrefix: 'other:' }) });
        await expect(elsewhere.acquire('job')).rejects.toThrow(/docs\/redis\.md lists/);
      } finally {
        subscriber.close();
        one.close();
      }
    },
  );

  test('takes no client without a name', async () => {
    expect(command('PING')).toMatch(/NOAUTH/);
  });

  test('gives a lock to the function of docs/cdk/cache.md, which has no password', async () => {
    const code = blocksOf('docs/cdk/cache.md').find(({ code }) => code.includes('iamConfig'))?.code ?? '';
    const { resolve } = createRequire(import.meta.url);
    const sources = new Map([...entries()].map(([entry, source]) => [entry, join(repository, source)]));
    const runnable = code.replace(/ from '(.*)'/g, (_, name) => ` from '${sources.get(name) ?? resolve(name)}'`);
    const program = join(folder, 'function.ts');
    writeFileSync(
      program,
      `${runnable}
const lease = await locks.acquire('nightly');
console.log(lease.isHeld(), await lease.release());
client.close();`,
    );
    const env = {
      PATH: process.env.PATH,
      // As Lambda gives them. The variables of the cache are those that attach() sets.
      AWS_REGION: 'eu-west-1',
      AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
      AWS_SECRET_ACCESS_KEY: 'secret',
      AWS_SESSION_TOKEN: 'token',
      LOCK_REDIS_ENDPOINT: `127.0.0.1:${server.port}`,
      LOCK_REDIS_USER: 'stack-locks',
      LOCK_REDIS_CACHE: 'stack-cache',
      SSL_CERT_FILE: certificate,
    };
    const { stdout } = await promisify(execFile)(process.execPath, [program], { env, timeout: 30_000 });
    expect(stdout).toMatch(/^true true$/m);
  });
});
