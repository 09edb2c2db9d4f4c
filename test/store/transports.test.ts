// The same answers give the same errors over both transports.
import { execFile } from 'node:child_process';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeEach, describe, expect, test } from '@jest/globals';
import { DynamoDBLockStore } from '../../lib/dynamodb.ts';
import { LockStoreError } from '../../lib/record/errors.ts';
import type { StoreAnswer } from '../../lib/record/store.ts';

const HOUR = 3_600_000;
/** A certificate of 127.0.0.1 that signs itself, until the year 2126. */
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBjzCCATagAwIBAgIUEiCUMVLsVzUiI7Mxxve0Oy/Q86IwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJMTI3LjAuMC4xMCAXDTI2MTEyNjIzMTY0NFoYDzIxMjYxMTAy
MjMxNjQ0WjAUMRIwEAYDVQQDDAkxMjcuMC4wLjEwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASemep9befhMcXldEz9Z1ixmEs9fzyNAjlxL2FGVSAJmHRUjY7xqTM9
n8jmGE6Ve1YeXFElyvZ75BGoxZu4Sldxo2QwYjAdBgNVHQ4EFgQU5AiRSVDaZ4lB
I5U6Kd4gvnYytJQwHwYDVR0jBBgwFoAU5AiRSVDaZ4lBI5U6Kd4gvnYytJQwDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0cAMEQC
IHzsSvi+MyW6DsESn+HYHilpS2QWqacXSzxbUf+XF8XvAiA1FW399+PH9On8BNih
xBA4w+C4bB9LDHdgQPTcA3DjFg==
-----END CERTIFICATE-----`;
const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgtWM7/b/Q3qHsgEVG
fJL71JUqojzwTA2IF23lJ+HbGbWhRANCAASemep9befhMcXldEz9Z1ixmEs9fzyN
AjlxL2FGVSAJmHRUjY7xqTM9n8jmGE6Ve1YeXFElyvZ75BGoxZu4Sldx
-----END PRIVATE KEY-----`;
const request = { key: 'job', lockId: 'me', owner: 'us', now: 1_000, until: 2_000, leaseMs: 1_000 };
const keys = { AWS_REGION: 'eu-west-1', AWS_ACCESS_KEY_ID: 'AKID', AWS_SECRET_ACCESS_KEY: 'secret' };
const servers: Server[] = [];
afterAll(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

const before = { ...process.env };
beforeEach(() => {
  for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name];
  process.env.HOME = '/nowhere';
  process.env.AWS_EC2_METADATA_DISABLED = 'true';
});
afterAll(() => {
  Object.assign(process.env, before);
});

async function listening(server: Server, protocol = 'http'): Promise<string> {
  servers.push(server);
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  return `${protocol}://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** The store over each transport, by the same environment. */
const stores = () =>
  Object.entries({
    'the SDK': new DynamoDBLockStore({ tableName: 'locks', client: new DynamoDBClient({ maxAttempts: 1 }) }),
    'the own transport': new DynamoDBLockStore({ tableName: 'locks' }),
  });

const facts = (error: unknown) => {
  expect(error).toBeInstanceOf(LockStoreError);
  const { message, transient, conflict, misdated, attempts, foreign, cause } = error as LockStoreError;
  const { name, code, $fault, $metadata } = (cause ?? {}) as {
    name?: string;
    code?: string;
    $fault?: string;
    $metadata?: { httpStatusCode?: number };
  };
  const status = code === undefined || $fault !== undefined ? $metadata?.httpStatusCode : undefined;
  // The SDK explains to developers how to see the raw answer, and names the port of each socket.
  const said = message.replace(/(\\u000a|\s)+Deserialization error: .*$/s, '').replace(/127\.0\.0\.1:\d+/g, 'HOST');
  return {
    said,
    transient,
    conflict,
    misdated,
    attempts,
    foreign,
    cause: { name, code: $fault ? undefined : code, $fault, status },
  };
};

/** Expects one outcome over both transports, and gives it. */
async function outcome(listener: RequestListener | undefined, environment: Record<string, string> = {}) {
  const endpoint = listener && (await listening(createServer(listener)));
  Object.assign(process.env, keys, endpoint && { AWS_ENDPOINT_URL: endpoint }, environment);
  const outcomes: [string, unknown][] = [];
  for (const [name, store] of stores()) outcomes.push([name, await store.acquire(request).then(seen, facts)]);
  const [[, sdk], [, own]] = outcomes as [[string, unknown], [string, unknown]];
  expect(own).toEqual(sdk);
  return own as ReturnType<typeof facts>;
}

const seen = ({ applied, record, serverDate, relayed, maybeAppliedBefore }: StoreAnswer) => ({
  applied,
  record,
  isDated: serverDate !== undefined,
  relayed,
  maybeAppliedBefore,
});

const json =
  (status: number, body: object, headers: Record<string, string> = {}): RequestListener =>
  (_, response) => {
    response.writeHead(status, { 'content-type': 'application/x-amz-json-1.0', ...headers }).end(JSON.stringify(body));
  };
const raw =
  (status: number, body: string, headers: Record<string, string> = {}): RequestListener =>
  (_, response) => {
    response.writeHead(status, { 'content-type': 'text/html', ...headers }).end(body);
  };
const item = {
  lockKey: { S: 'job' },
  lockId: { S: 'me' },
  owner: { S: 'us' },
  fencingToken: { N: '7' },
  expiresAt: { N: '2000' },
  acquiredAt: { N: '1000' },
  leaseMs: { N: '1000' },
};
const refused = (name: string, message = 'no'): object => ({
  __type: `com.amazonaws.dynamodb.v20120810#${name}`,
  message,
});

describe('over both transports', () => {
  test('a grant is the same', async () => {
    expect(await outcome(json(200, { Attributes: item }))).toMatchObject({ applied: true, isDated: true });
  });

  test('a refusal with the present item is the same', async () => {
    const body = { ...refused('ConditionalCheckFailedException'), Item: { ...item, lockId: { S: 'other' } } };
    expect(await outcome(json(400, body))).toMatchObject({ applied: false, record: { lockId: 'other' } });
  });

  test.each([
    ['ProvisionedThroughputExceededException', 400, true],
    ['ThrottlingException', 400, true],
    ['RequestLimitExceeded', 400, true],
    ['TransactionConflictException', 400, true],
    ['ReplicatedWriteConflictException', 400, true],
    ['InternalServerError', 500, true],
    ['ServiceUnavailableException', 503, true],
    ['AccessDeniedException', 400, false],
    ['ExpiredTokenException', 400, false],
    ['UnrecognizedClientException', 400, false],
    ['MissingAuthenticationTokenException', 400, false],
    ['IncompleteSignatureException', 400, false],
    ['InvalidSignatureException', 400, false],
    ['ResourceNotFoundException', 400, false],
    ['ItemCollectionSizeLimitExceededException', 400, false],
    ['ValidationException', 400, false],
    ['NewExceptionOfTomorrow', 400, false],
    ['NewExceptionOfTomorrow', 500, true],
  ])('%s with the status %i is the same error', async (name, status, transient) => {
    expect(await outcome(json(status, refused(name)))).toMatchObject({ transient });
  });

  test.each<[string, object, Record<string, string>]>([
    ['in a header', { message: 'm' }, { 'x-amzn-errortype': 'ThrottlingException:http://internal.amazon.com/' }],
    ['with a message in capitals', { __type: 'AccessDeniedException', Message: 'User is not authorized' }, {}],
    ['in code', { code: 'ThrottlingException', message: 'm' }, {}],
    ['in Code', { Code: 'ThrottlingException', Message: 'm' }, {}],
    ['in two places', { __type: 'AccessDeniedException' }, { 'x-amzn-errortype': 'ThrottlingException' }],
    ['before an empty message', { __type: 'AccessDeniedException', message: '', Message: 'm' }, {}],
    ['nowhere', {}, {}],
  ])('an error whose name stands %s is the same', async (_, body, headers) => {
    await outcome(json(400, body, headers));
  });

  test.each<[string, RequestListener, boolean]>([
    ['a page with the status 200', raw(200, '<html>hello</html>'), true],
    ['a page with the status 403', raw(403, '<html>no</html>'), true],
    ['a page with the status 502', raw(502, '<html>bad gateway</html>'), true],
    ['an empty answer with the status 503', raw(503, ''), true],
    ['an empty answer with the status 400', raw(400, ''), false],
    ['null with the status 400', raw(400, 'null'), false],
    ['a redirect', raw(302, '', { location: 'http://127.0.0.1:1/' }), false],
    ['half of an answer', (_, response) => response.writeHead(200).end('{"Attributes":{"lockKey"'), true],
    [
      'an answer that is cut off',
      (_, response) => {
        response.writeHead(200, { 'content-length': '900' }).write('{"Attrib');
        setTimeout(() => response.destroy(), 20);
      },
      true,
    ],
    ['a connection that breaks', (incoming) => incoming.destroy(), true],
  ])('%s is the same error', async (_, listener, transient) => {
    expect(await outcome(listener)).toMatchObject({ transient });
  });

  test.each<[string, number, string, Record<string, string>]>([
    ['a page', 403, '<html>no</html>', {}],
    ['a page', 200, '<html>hello</html>', {}],
    ['a page', 502, '<html>bad gateway</html>', {}],
    ['a redirect', 302, '', { location: 'http://127.0.0.1:1/' }],
    ['an empty answer', 404, '', {}],
  ])(
    "%s with the status %i is not DynamoDB's: the message names the status and the endpoint",
    async (_, status, body, headers) => {
      const { said } = await outcome(raw(status, body, headers));
      expect(said).toContain(
        `http://HOST answered dynamodb:UpdateItem on the table 'locks' with the status ${status}, and not as DynamoDB does: ` +
          'check AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_DYNAMODB and the proxies on the way.',
      );
    },
  );

  test('an empty answer with the status 200 is none of DynamoDB over the own transport, for a read too', async () => {
    const endpoint = await listening(createServer(raw(200, '')));
    Object.assign(process.env, keys, { AWS_ENDPOINT_URL: endpoint });
    const own = new DynamoDBLockStore({ tableName: 'locks' });
    await expect(own.read('job', { consistent: true })).rejects.toMatchObject({
      transient: true,
      message: expect.stringContaining('with the status 200, and not as DynamoDB does'),
    });
    // The SDK hides that the answer was empty, and DynamoDB's own answer tells nothing of a missing record.
    for (const [, store] of stores()) {
      await expect(store.acquire(request)).rejects.toMatchObject({ transient: true });
      await expect(store.readMany(['job'])).rejects.toMatchObject({ transient: true });
      await expect(store.list('')).rejects.toMatchObject({ transient: true });
    }
  });

  test('a log of the error does not show an answer that was cut short', async () => {
    const cut = raw(200, '{"Responses":{"locks":[{"name":{"S":"s3cret"}},{"na');
    const endpoint = await listening(createServer(cut));
    Object.assign(process.env, keys, { AWS_ENDPOINT_URL: endpoint });
    for (const [, store] of stores()) {
      const error = await store.readMany(['job']).catch((thrown) => thrown);
      expect(error).toBeInstanceOf(LockStoreError);
      expect(inspect(error, { depth: 9 }) + JSON.stringify(error.cause)).not.toContain('s3cret');
    }
  });

  test.each([
    ['ahead', -HOUR],
    ['behind', HOUR],
  ])(
    'a signature that is refused since the host is an hour %s is told, and the next request is signed by the right time',
    async (_, byMs) => {
      const times: number[] = [];
      const result = await outcome((incoming, response) => {
        const time = String(incoming.headers['x-amz-date']).replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5');
        times.push(Date.parse(time));
        const isRight = Math.abs(Date.parse(time) - (Date.now() + byMs)) < 60_000;
        const body = isRight ? { Attributes: item } : refused('InvalidSignatureException', 'Signature expired');
        const date = new Date(Date.now() + byMs).toUTCString();
        response.writeHead(isRight ? 200 : 400, { date }).end(JSON.stringify(body));
      });
      expect(result).toMatchObject({ transient: true, misdated: true });
      const store = new DynamoDBLockStore({ tableName: 'locks' });
      await expect(store.acquire(request)).rejects.toMatchObject({ misdated: true });
      expect(await store.acquire(request)).toMatchObject({ applied: true });
      expect(Math.abs((times.at(-1) as number) - Date.now() - byMs)).toBeLessThan(60_000);
    },
  );

  test('a host that refuses connections is the same error', async () => {
    const result = await outcome(undefined, { AWS_ENDPOINT_URL: 'http://127.0.0.1:9' });
    expect(result).toMatchObject({ transient: true, cause: { code: 'ECONNREFUSED' } });
    expect(result.said).toContain(': check AWS_REGION, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_DYNAMODB and the network. ');
  });

  test.each([
    ['a Region that does not exist', { AWS_REGION: 'eu-nowhere-9' }, 'AWS_REGION'],
    ['a Region that is none', { AWS_REGION: 'not a region' }, "set AWS_REGION to the table's Region"],
    ['no Region', { AWS_REGION: '' }, "set AWS_REGION to the table's Region"],
    ['no credentials', { AWS_ACCESS_KEY_ID: '' }, 'set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY'],
    ['an endpoint that is no URL', { AWS_ENDPOINT_URL: 'localhost' }, 'mend AWS_ENDPOINT_URL'],
    ['an unknown profile', { AWS_PROFILE: 'nobody' }, "mend AWS_PROFILE='nobody' or that profile, log in"],
  ])('%s is the same error, which says what to do', async (_, environment, advice) => {
    const result = await outcome(undefined, environment);
    expect(result).toMatchObject({ attempts: 1, transient: false });
    expect(result.said).toContain('could not be sent: ');
    expect(result.said).toContain(advice);
  });

  test("a container's endpoint that gives no credentials is the same kind of error", async () => {
    const agent = await listening(createServer((_, response) => response.writeHead(500).end()));
    Object.assign(process.env, { AWS_REGION: 'eu-west-1', AWS_CONTAINER_CREDENTIALS_FULL_URI: agent });
    const errors: unknown[] = [];
    for (const [, store] of stores()) {
      const { said, ...rest } = facts(await store.acquire(request).catch((error) => error));
      expect(said).toContain('could not be sent: set AWS_ACCESS_KEY_ID');
      errors.push(rest);
    }
    expect(errors[1]).toEqual(errors[0]);
    expect(errors[0]).toMatchObject({ transient: false, cause: { name: 'CredentialsProviderError' } });
  }, 60_000);

  test('a certificate that no authority signed is the same error', async () => {
    const tls = createTlsServer({ key: KEY, cert: CERTIFICATE }, json(200, { Attributes: item }));
    const result = await outcome(undefined, { AWS_ENDPOINT_URL: await listening(tls, 'https') });
    expect(result).toMatchObject({ transient: false, cause: { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' } });
  });

  test('a request that is aborted ends, and its socket with it', async () => {
    let closed = 0;
    const endpoint = await listening(createServer((incoming) => incoming.on('close', () => closed++)));
    Object.assign(process.env, keys, { AWS_ENDPOINT_URL: endpoint });
    for (const [, store] of stores()) {
      const controller = new AbortController();
      const answer = store.acquire(request, controller.signal).catch((error) => error);
      setTimeout(() => controller.abort(), 50);
      expect(facts(await answer)).toMatchObject({ transient: true, cause: { name: 'AbortError' } });
    }
    for (let tries = 0; tries < 100 && closed < 2; tries++) await new Promise((soon) => setTimeout(soon, 10));
    expect(closed).toBe(2);
  });

  test('a request that is aborted while it waits for a socket ends at once', async () => {
    const endpoint = await listening(createServer(() => {}));
    Object.assign(process.env, keys, { AWS_ENDPOINT_URL: endpoint });
    for (const [, store] of stores()) {
      const others = new AbortController();
      const hung = Array.from({ length: 60 }, () => store.acquire(request, others.signal).catch(() => 'ended'));
      const answer = store.acquire(request, AbortSignal.timeout(200)).catch((error) => error);
      const soon = new Promise((late) => setTimeout(late, 2_000, 'late').unref());
      expect(facts(await Promise.race([answer, soon]))).toMatchObject({ transient: true });
      others.abort();
      expect(new Set(await Promise.all(hung))).toEqual(new Set(['ended']));
    }
  });
});

test('the first requests of a store are sent over the sockets of one transport, even if they are many at once', async () => {
  let connections = 0;
  const server = createServer((_, response) => {
    setTimeout(() => response.end(JSON.stringify({ Attributes: item })), 20);
  });
  server.on('connection', () => connections++);
  Object.assign(process.env, keys, { AWS_ENDPOINT_URL: await listening(server) });
  const store = new DynamoDBLockStore({ tableName: 'locks' });
  const answers = await Promise.all(Array.from({ length: 150 }, () => store.acquire(request)));
  expect(answers.every(({ applied }) => applied)).toBe(true);
  expect(connections).toBeLessThanOrEqual(50);
});

test.each([
  ['the own transport', {}],
  ["the store's own client of the SDK", { AWS_ENABLE_ENDPOINT_DISCOVERY: 'false' }],
])('%s makes one attempt, since leasehold itself sends a request again', async (_, environment) => {
  let requests = 0;
  const failing: RequestListener = (incoming, response) => {
    requests++;
    json(500, refused('InternalServerError'))(incoming, response);
  };
  Object.assign(process.env, keys, environment, { AWS_ENDPOINT_URL: await listening(createServer(failing)) });
  const store = new DynamoDBLockStore({ tableName: 'locks' });
  await expect(store.acquire(request)).rejects.toMatchObject({ transient: true, attempts: 1 });
  expect(requests).toBe(1);
});

test('a process that goes the own way does not load the SDK', async () => {
  const endpoint = await listening(createServer(json(200, { Attributes: item })));
  const program = `
    import { registerHooks } from 'node:module';
    const loaded = [];
    registerHooks({ load: (url, context, next) => { loaded.push(url); return next(url, context); } });
    const { DynamoDBLockStore } = await import(${JSON.stringify(new URL('../../lib/dynamodb.ts', import.meta.url).href)});
    await new DynamoDBLockStore({ tableName: 'locks' }).acquire(${JSON.stringify(request)});
    console.log(loaded.filter((url) => /aws-sdk|smithy/.test(url)).length, loaded.length > 5);`;
  const env = { ...process.env, ...keys, AWS_ENDPOINT_URL: endpoint };
  const output = await new Promise((done) => {
    execFile(process.execPath, ['--input-type=module', '-e', program], { env }, (_, out, err) => done(out + err));
  });
  expect(output).toBe('0 true\n');
});

test.each([
  ['no Region', { AWS_REGION: '' }, 'AWS_REGION is not set'],
  ['a Region of no known partition', { AWS_REGION: 'local' }, "AWS_REGION is 'local'"],
  ['a profile', { AWS_PROFILE: 'work' }, "AWS_PROFILE is 'work'"],
  ['an endpoint with a query', { AWS_ENDPOINT_URL: 'http://localhost:8000/?a=b' }, 'AWS_ENDPOINT_URL is no plain URL'],
  ['no credentials', { AWS_ACCESS_KEY_ID: '' }, 'no credentials are set'],
])('without the SDK, and with %s, the error names the setting', async (_, environment, why) => {
  const program = `
    import { registerHooks } from 'node:module';
    const missing = () => { throw Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' }); };
    registerHooks({ resolve: (name, context, next) => name.startsWith('@aws-sdk') ? missing() : next(name, context) });
    const { DynamoDBLockStore } = await import(${JSON.stringify(new URL('../../lib/dynamodb.ts', import.meta.url).href)});
    await new DynamoDBLockStore({ tableName: 'locks' }).acquire({}).catch(({ message }) => console.log(message));`;
  const env = { ...process.env, ...keys, ...environment };
  const output = await new Promise((done) => {
    execFile(process.execPath, ['--input-type=module', '-e', program], { env }, (_error, out, err) => done(out + err));
  });
  expect(output).toContain(`could not be sent: ${why}`);
  expect(output).toContain(
    ', for which the AWS SDK is needed: mend the setting, or run `npm install @aws-sdk/client-dynamodb`. Error: Cannot find',
  );
});
