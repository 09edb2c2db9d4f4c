import { type IncomingHttpHeaders, request } from 'node:http';
import { connect, createServer } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { type LivePage, type ServeOptions, serve } from '../../bin/serve/server.ts';
import { LockClient, type LockStore } from '../../lib/index.ts';
import { FakeClock, MemoryLockStore } from '../../lib/testing.ts';
import { ScriptedStore } from '../support/scripted-store.ts';

const open: LivePage[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((page) => page.close()));
});

async function started(options: Partial<ServeOptions> = {}, store: LockStore = new MemoryLockStore()) {
  const locks = new LockClient({ store });
  const page = await serve(locks, { place: 'the tests', ...options });
  open.push(page);
  return { locks, page, url: new URL(page.url) };
}

interface Sent {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

/** Sends a request with exactly these headers, as no `fetch` does. */
function send(url: URL | string, { method = 'GET', headers = {}, body }: Sent = {}) {
  return new Promise<{ status: number; headers: IncomingHttpHeaders; body: string }>((resolve, reject) => {
    const sent = request(url, { method, headers, agent: false }, async (response) => {
      let text = '';
      for await (const chunk of response) text += chunk;
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

/** A POST as the page itself sends it. */
const posted = (url: URL, body: unknown, headers: Record<string, string> = {}) =>
  send(new URL('release', url), {
    method: 'POST',
    headers: { origin: url.origin, 'sec-fetch-site': 'same-origin', 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });

async function until<Value>(read: () => Promise<Value | undefined>): Promise<Value> {
  for (;;) {
    const value = await read();
    if (value !== undefined) return value;
  }
}
const pictureOf = (url: URL) => until(async () => JSON.parse((await send(new URL('state', url))).body).picture);

describe('the server of the live page', () => {
  test('listens on 127.0.0.1, under a secret of 256 bits that no other start has', async () => {
    const [one, other] = [await started(), await started()];
    expect(one.page.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/[\w-]{43}\/$/);
    expect(one.url.pathname).not.toBe(other.url.pathname);
    const reachable = new Promise((resolve) => {
      const socket = connect({ host: '127.0.0.2', port: Number(one.url.port) });
      socket.on('connect', () => resolve('reached')).on('error', () => resolve('refused'));
    });
    expect(await reachable).toBe('refused');
  });

  test('tells nothing to a request without the secret, or with a wrong one', async () => {
    const { url } = await started();
    const wrong = url.pathname.replace(/.\/$/, (end) => (end === 'A/' ? 'B/' : 'A/'));
    for (const path of [
      '/',
      '/state',
      wrong,
      `${wrong}state`,
      url.pathname.slice(0, -1),
      `${url.pathname}other`,
      '/%00',
    ]) {
      const { status, body } = await send(new URL(path, url.origin));
      expect({ path, status, body }).toEqual({ path, status: 404, body: '{"message":"Not found."}' });
    }
  });

  test('answers to no other name than 127.0.0.1 and localhost, so that no site can lead its own name here', async () => {
    const { url } = await started();
    const statuses = [
      'evil.example',
      `evil.example:${url.port}`,
      '127.0.0.1:1',
      '127.0.0.1',
      `localhost:${url.port}`,
    ].map(async (host) => (await send(url, { headers: { host } })).status);
    expect(await Promise.all(statuses)).toEqual([403, 403, 403, 403, 200]);
  });

  test('gives every answer the headers that keep the page to itself', async () => {
    const { url } = await started();
    for (const path of ['', 'state', 'nothing']) {
      const { headers } = await send(new URL(path, url));
      expect(headers).toMatchObject({
        'referrer-policy': 'no-referrer',
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
        'content-security-policy': expect.stringMatching(
          /^default-src 'none'; script-src 'sha256-[^']+'; style-src 'sha256-[^']+'; connect-src 'self'; .*base-uri 'none'; form-action 'none'; frame-ancestors 'none'/,
        ),
      });
    }
  });

  test('refuses other methods, and data for pages of other sites, but lets a link of another site open the page', async () => {
    const { url } = await started({ allowRelease: true });
    expect((await send(url, { method: 'POST' })).status).toBe(405);
    expect(await send(url, { method: 'HEAD' })).toMatchObject({ status: 200, body: '' });
    expect((await send(new URL('release', url), { method: 'HEAD' })).status).toBe(405);
    expect((await send(new URL('release', url))).status).toBe(405);
    for (const site of ['cross-site', 'same-site']) {
      const headers = { 'sec-fetch-site': site };
      expect((await send(new URL('state', url), { headers })).status).toBe(403);
      expect((await send(url, { headers })).status).toBe(200);
      expect((await posted(url, {}, headers)).status).toBe(403);
    }
    expect((await posted(url, {}, { origin: 'https://evil.example' })).status).toBe(403);
    const withoutOrigin = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' };
    expect((await send(new URL('release', url), withoutOrigin)).status).toBe(403);
  });

  test('takes JSON bodies of a bounded size alone, and says what is wrong with another', async () => {
    const { url, locks } = await started({ allowRelease: true });
    expect(await posted(url, 'a=b', { 'content-type': 'text/plain' })).toMatchObject({ status: 415 });
    expect(await posted(url, '{')).toMatchObject({ status: 400, body: '{"message":"Expected JSON in the body."}' });
    expect(await posted(url, '[]')).toMatchObject({ status: 400 });
    expect(await posted(url, { key: 7 })).toMatchObject({ status: 400, body: expect.stringContaining('number 7') });
    expect(await posted(url, { key: 'job' })).toMatchObject({ status: 400, body: expect.stringContaining('lockId') });
    const truthy = { key: 'job', lockId: 'x', immediately: 'no' };
    expect(await posted(url, truthy)).toMatchObject({ status: 400, body: expect.stringContaining("'no'") });
    expect(await posted(url, { key: 'x'.repeat(20_000) })).toMatchObject({ status: 413 });
    expect(await locks.inspect('job')).toBeUndefined();
  });

  test('ends the grant that was seen, and no newer grant', async () => {
    const { url, locks } = await started({ allowRelease: true, everyMs: 250 });
    const first = await locks.acquire('job', { holdAtMostMs: 60_000 });
    const { lockId } = (await pictureOf(url)).rows[0];
    await first.release();
    await (await locks.acquire('job')).release();
    const newer = await locks.acquire('job', { data: { from: 'newer' } });
    expect(await posted(url, { key: 'job', lockId })).toMatchObject({
      status: 409,
      body: expect.stringMatching(
        /Nothing was released.*'job' is now held by .*fencing token.*Look at that grant first/,
      ),
    });
    expect(newer.isHeld()).toBe(true);
    const shown = await until(async () => {
      const { rows } = await pictureOf(url);
      return rows[0].lockId === lockId ? undefined : rows[0].lockId;
    });
    expect(await posted(url, { key: 'job', lockId: shown })).toMatchObject({
      status: 200,
      body: expect.stringMatching(/The grant is ended\. Nobody holds 'job', which opens in \d+ s\./),
    });
    expect((await locks.inspect('job'))?.held).toBe(false);
  });

  test('opens the lock at once if asked to, and says so', async () => {
    const { url, locks } = await started({ allowRelease: true });
    await locks.acquire('job');
    const { lockId } = (await pictureOf(url)).rows[0];
    const { body } = await posted(url, { key: 'job', lockId, immediately: true });
    expect(JSON.parse(body)).toEqual({ message: "The grant is ended. 'job' is free.", opensInMs: 0 });
  });

  test('says that nobody knows if the store does not answer to a release', async () => {
    const store = new ScriptedStore(new MemoryLockStore(), new FakeClock());
    const { url } = await started({ allowRelease: true }, store);
    store.plan({ do: 'fail', error: new Error('access denied'), operation: 'forceRelease', times: Infinity });
    expect(await posted(url, { key: 'job', lockId: 'x' })).toMatchObject({
      status: 502,
      body: expect.stringMatching(/Force-releasing 'job'.*access denied.*Nobody knows whether the grant is ended/),
    });
  });

  test('is read-only by default: refuses releases, and gives no id of a grant away', async () => {
    const store = new MemoryLockStore();
    const { url, locks } = await started({}, store);
    // The second grant takes over from a grant whose id stands in the record, too.
    const grant = { key: 'job', owner: 'worker', leaseMs: 60_000, data: '{"batch":7}' };
    await store.acquire({ ...grant, lockId: 'secret-1', now: 1, until: Date.now() - 1_000 });
    await store.acquire({ ...grant, lockId: 'secret-2', now: Date.now(), until: Date.now() + 60_000 });
    const refusal = await posted(url, { key: 'job', lockId: 'secret-2' });
    expect(refusal).toMatchObject({ status: 403, body: expect.stringContaining('--allow-release') });
    expect((await locks.inspect('job'))?.held).toBe(true);
    const picture = JSON.stringify(await pictureOf(url));
    const details = await send(new URL('lock?key=job', url));
    expect(picture).toContain('"takenOverBy":"worker"');
    expect(JSON.parse(details.body)).toMatchObject({ owner: 'worker', data: { batch: 7 } });
    expect(picture + details.body).not.toContain('secret');
  });

  test('says that a lock without a record is free, and shows the reason of a failed read', async () => {
    const store = new ScriptedStore(new MemoryLockStore(), new FakeClock());
    const { url } = await started({}, store);
    expect(await send(new URL('lock?key=job', url))).toMatchObject({
      status: 404,
      body: expect.stringContaining("'job'"),
    });
    expect(await send(new URL('lock', url))).toMatchObject({
      status: 400,
      body: expect.stringContaining('not be empty'),
    });
    store.plan({ do: 'fail', error: new Error('access denied'), operation: 'read' });
    expect(await send(new URL('lock?key=job', url))).toMatchObject({
      status: 502,
      body: expect.stringContaining('denied'),
    });
  });

  test('says what to do if the port is in use, and which options are wrong', async () => {
    const busy = createServer();
    await new Promise<void>((resolve) => busy.listen(0, '127.0.0.1', resolve));
    const { port } = busy.address() as { port: number };
    const locks = new LockClient({ store: new MemoryLockStore() });
    await expect(serve(locks, { place: 'the tests', port })).rejects.toThrow(
      `The port ${port} of 127.0.0.1 is in use: end the program that has it, or name another by --port`,
    );
    busy.close();
    const wrong: [object, string][] = [
      [{ port: 70_000 }, 'port must be a whole number from 0 to 65535, but it is number 70000.'],
      [{ everyMs: 10 }, 'everyMs must be a whole number of milliseconds from 250'],
      [{ allowRelease: 'yes' }, "allowRelease must be true or false, but it is 'yes'."],
      [{ readonly: true }, "serve has no option 'readonly'"],
    ];
    for (const [options, message] of wrong) {
      await expect(serve(locks, { place: 'the tests', ...options })).rejects.toThrow(message);
    }
  });

  test('closes at once, under a look that never ends and a connection that stays', async () => {
    const store = new ScriptedStore(new MemoryLockStore(), new FakeClock());
    store.plan({ do: 'hang', operation: 'list', times: Infinity });
    const { url, page } = await started({}, store);
    await send(new URL('state', url));
    const idle = connect({ host: '127.0.0.1', port: Number(url.port) });
    await new Promise((resolve) => idle.on('connect', resolve));
    const beganAt = performance.now();
    idle.on('error', () => {});
    await page.close();
    expect(performance.now() - beganAt).toBeLessThan(500);
    await expect(send(url)).rejects.toThrow('ECONNREFUSED');
  });
});
