import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import http, { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DynamoDBClient, GetItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Way, wayIn } from '../../lib/dynamodb/environment.ts';
import { DynamoDBLockStore } from '../../lib/dynamodb.ts';
import { LockClient, LockStoreError } from '../../lib/index.ts';
import { disciplinedClock } from '../support/disciplined-clock.ts';

/** A home without profiles. */
const HOME = mkdtempSync(join(tmpdir(), 'home-'));
const keys = { AWS_ACCESS_KEY_ID: 'AKID', AWS_SECRET_ACCESS_KEY: 'secret' };
const onLambda = { HOME, AWS_REGION: 'eu-west-1', ...keys, AWS_SESSION_TOKEN: 'token' };

type Environment = Record<string, string>;
const wayOf = (environment: Environment, tableName = 'locks') => wayIn({ HOME, ...environment }, tableName);

interface HttpRequest {
  protocol: string;
  hostname: string;
  port?: number;
  path: string;
  headers: Record<string, string>;
}

/** The request that the SDK would send in an environment, or its error. */
async function requestOfSdk(environment: Environment, TableName: string) {
  const before = { ...process.env };
  for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name];
  Object.assign(process.env, { HOME, ...environment });
  try {
    let seen: { url: string; region: string | undefined } | undefined;
    const handle = async ({ protocol, hostname, port, path, headers }: HttpRequest) => {
      const region = /Credential=[^/]*\/\d+\/([^/]+)\//.exec(headers.authorization ?? '')?.[1];
      seen = { url: `${protocol}//${hostname}${port ? `:${port}` : ''}${path}`, region };
      throw new Error('seen');
    };
    const client = new DynamoDBClient({ maxAttempts: 1, requestHandler: { handle } as never });
    await client.send(new GetItemCommand({ TableName, Key: { lockKey: { S: 'a' } } })).catch((error) => {
      if (error.message !== 'seen') throw error;
    });
    return seen;
  } finally {
    for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
    Object.assign(process.env, before);
  }
}

async function requestOfWay(way: Way) {
  const { href } = way.endpoint(await way.credentials());
  return { url: href.endsWith('/') ? href : `${href}/`, region: way.region };
}

/** Most settings are not set in most environments. */
const maybe = (...values: string[]) =>
  fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.constantFrom(...values) });
const environments = fc
  .record({
    AWS_REGION: fc.constantFrom(
      ...[
        'us-east-1',
        'eu-central-1',
        'ap-southeast-5',
        'us-gov-west-1',
        'us-gov-east-1',
        'cn-north-1',
        'cn-northwest-1',
      ],
      ...['us-iso-east-1', 'eusc-de-east-1', 'local', 'nowhere', 'eu-central-99', ''],
    ),
    AWS_ACCESS_KEY_ID: fc.constantFrom('AKID'),
    AWS_SECRET_ACCESS_KEY: fc.constantFrom('secret'),
    AWS_SESSION_TOKEN: maybe('token'),
    AWS_ACCOUNT_ID: maybe('123456789012'),
    AWS_ACCOUNT_ID_ENDPOINT_MODE: maybe('preferred', 'disabled', 'required', ''),
    AWS_ENDPOINT_URL: maybe('http://127.0.0.1:8000', 'https://db.example.com/base', 'http://[::1]:8000/', ''),
    AWS_ENDPOINT_URL_DYNAMODB: maybe('https://vpce-1.dynamodb.eu-west-1.vpce.amazonaws.com', ''),
    AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: maybe('true', 'false'),
    AWS_USE_FIPS_ENDPOINT: maybe('true', 'false'),
    AWS_USE_DUALSTACK_ENDPOINT: maybe('true', 'false'),
    AWS_RETRY_MODE: maybe('standard', 'adaptive'),
    tableName: fc.constantFrom(
      ...['locks', 'locks', 'locks', 'arn:aws:dynamodb:us-east-1:210987654321:table/locks'],
      ...['arn:aws-cn:dynamodb:cn-north-1:210987654321:table/locks'],
    ),
  })
  .map(({ tableName, ...variables }) => {
    const set = Object.entries(variables).filter(([, value]) => value !== undefined);
    return { tableName, environment: Object.fromEntries(set) as Environment };
  });

describe('a way that is read from the environment', () => {
  test('leads to the endpoint and the Region of the SDK, in 1,000 random environments', async () => {
    let understood = 0;
    const property = fc.asyncProperty(environments, async ({ tableName, environment }) => {
      const way = wayOf(environment, tableName);
      if (way === undefined) return;
      understood++;
      expect(await requestOfWay(way)).toEqual(await requestOfSdk(environment, tableName));
    });
    await fc.assert(property, { numRuns: 1_000 });
    expect(understood).toBeGreaterThan(100);
  });

  test.each([
    ['Lambda', {}, 'https://dynamodb.eu-west-1.amazonaws.com/'],
    ['Lambda in China', { AWS_REGION: 'cn-north-1' }, 'https://dynamodb.cn-north-1.amazonaws.com.cn/'],
    ['Lambda in GovCloud', { AWS_REGION: 'us-gov-west-1' }, 'https://dynamodb.us-gov-west-1.amazonaws.com/'],
    [
      'an account that is known',
      { AWS_ACCOUNT_ID: '123456789012' },
      'https://123456789012.ddb.eu-west-1.amazonaws.com/',
    ],
    ['an endpoint of its own', { AWS_ENDPOINT_URL: 'http://localhost:4566' }, 'http://localhost:4566/'],
  ])('is found on %s', async (_, more: Environment, url) => {
    const way = wayOf({ ...onLambda, ...more });
    expect(way && (await requestOfWay(way)).url).toBe(url);
    expect(await requestOfSdk({ ...onLambda, ...more }, 'locks')).toMatchObject({ url });
  });

  test.each([
    ['no Region', { AWS_REGION: '' }],
    ['a Region of no known partition', { AWS_REGION: 'us-iso-east-1' }],
    ['a profile', { AWS_PROFILE: 'work' }],
    ['FIPS', { AWS_USE_FIPS_ENDPOINT: 'true' }],
    ['dual stack', { AWS_USE_DUALSTACK_ENDPOINT: 'true' }],
    ['an account that would be another host', { AWS_ACCOUNT_ID: 'example.com#' }],
    ['an adaptive retry mode', { AWS_RETRY_MODE: 'adaptive' }],
    ['required endpoints of accounts', { AWS_ACCOUNT_ID_ENDPOINT_MODE: 'required' }],
    ['endpoint discovery', { AWS_ENABLE_ENDPOINT_DISCOVERY: 'true' }],
    ['an endpoint with a query', { AWS_ENDPOINT_URL: 'http://localhost:8000/?a=b' }],
    ['an endpoint that is no URL', { AWS_ENDPOINT_URL: 'localhost' }],
    ['no credentials', { AWS_ACCESS_KEY_ID: '' }],
    ['a web identity', { AWS_ACCESS_KEY_ID: '', AWS_WEB_IDENTITY_TOKEN_FILE: '/token' }],
    [
      'a credentials endpoint on another host without TLS',
      { AWS_ACCESS_KEY_ID: '', AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://example.com/' },
    ],
  ])('is left to the SDK with %s', (_, more: Environment) => {
    expect(wayOf({ ...onLambda, ...more })).toBeUndefined();
  });

  test.each(['AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE'])('is left to the SDK if there is a file %s', (name) => {
    const file = join(HOME, name);
    expect(wayOf({ ...onLambda, [name]: file })).toBeDefined();
    writeFileSync(file, '[default]\n');
    expect(wayOf({ ...onLambda, [name]: file })).toBeUndefined();
  });

  test.each(['HOME', 'USERPROFILE', 'HOMEPATH'])('is left to the SDK if there is a file of profiles in %s', (name) => {
    const home = mkdtempSync(join(tmpdir(), 'home-'));
    const environment = { ...onLambda, HOME: '', HOMEDRIVE: '', [name]: home };
    expect(wayIn(environment, 'locks')).toBeDefined();
    mkdirSync(join(home, '.aws'));
    writeFileSync(join(home, '.aws', 'config'), '[default]\n');
    expect(wayIn(environment, 'locks')).toBeUndefined();
  });

  test('is left to the SDK if the table is in another Region', () => {
    expect(wayOf(onLambda, 'arn:aws:dynamodb:us-east-1:123456789012:table/locks')).toBeUndefined();
  });

  test('follows keys that change, and says when they are gone', async () => {
    const environment: Environment = { ...onLambda };
    const way = wayOf(environment) as Way;
    const live = wayIn(environment, 'locks') as Way;
    expect(await way.credentials()).toMatchObject({ accessKeyId: 'AKID', sessionToken: 'token' });
    environment.AWS_ACCESS_KEY_ID = 'AKID2';
    expect(await live.credentials()).toMatchObject({ accessKeyId: 'AKID2' });
    environment.AWS_ACCESS_KEY_ID = '';
    await expect(live.credentials()).rejects.toMatchObject({
      name: 'CredentialsProviderError',
      message: expect.stringContaining('AWS_ACCESS_KEY_ID'),
    });
  });
});

describe("the credentials of a container's endpoint", () => {
  let answers: ((request: IncomingMessage, response: ServerResponse) => void)[] = [];
  let requests: IncomingMessage[] = [];
  /** The answers of paths of their own. */
  const answersOf = new Map<string, (request: IncomingMessage, response: ServerResponse) => void>();
  const server = createServer((request, response) => {
    requests.push(request);
    const answerOf = answersOf.get(String(request.url));
    if (answerOf) return answerOf(request, response);
    (answers.length > 1 ? answers.shift() : answers[0])?.(request, response);
  });
  const inMs = (ms: number) => new Date(Date.now() + ms).toISOString();
  const MINUTE = 60_000;
  const gives = (id: string, ms: number) => (_: IncomingMessage, response: ServerResponse) =>
    response.end(
      JSON.stringify({ AccessKeyId: id, SecretAccessKey: 's', Token: 't', Expiration: inMs(ms), AccountId: '1' }),
    );
  const status = (code: number) => (_: IncomingMessage, response: ServerResponse) => response.writeHead(code).end('{}');
  let uri: string;

  beforeEach(async () => {
    if (!server.listening) await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
    uri = `http://127.0.0.1:${(server.address() as AddressInfo).port}/role?a=b`;
    requests = [];
  });
  afterEach(() => {
    answers = [];
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });
  const container = (more: Environment = {}) =>
    wayOf({ AWS_REGION: 'eu-west-1', AWS_CONTAINER_CREDENTIALS_FULL_URI: uri, ...more }) as Way;

  test('are read once while they are good, with the token', async () => {
    answers = [gives('A', 60 * MINUTE)];
    const way = container({ AWS_CONTAINER_AUTHORIZATION_TOKEN: 'Bearer abc' });
    const all = await Promise.all([way.credentials(), way.credentials(), way.credentials()]);
    expect(all[2]).toEqual({ accessKeyId: 'A', secretAccessKey: 's', sessionToken: 't' });
    expect(requests.map(({ url, headers }) => [url, headers.authorization])).toEqual([['/role?a=b', 'Bearer abc']]);
  });

  test('are not read through the proxy of the process', async () => {
    const { globalAgent } = http;
    const addRequest = () => {
      throw new Error('the proxy hears the token');
    };
    http.globalAgent = Object.assign(new http.Agent(), { addRequest });
    try {
      answers = [gives('A', 60 * MINUTE)];
      expect(await container().credentials()).toMatchObject({ accessKeyId: 'A' });
    } finally {
      http.globalAgent = globalAgent;
    }
  });

  test('are read with the token of a file, which is read anew each time', async () => {
    const file = join(HOME, 'token');
    writeFileSync(file, 'one');
    answers = [gives('A', -1)];
    const way = container({ AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: file });
    await way.credentials();
    writeFileSync(file, 'two');
    await way.credentials();
    expect(requests.map(({ headers }) => headers.authorization)).toEqual(['one', 'two']);
  });

  test('are renewed five minutes ahead, and no request waits for that', async () => {
    answers = [gives('A', 4 * MINUTE), gives('B', 60 * MINUTE)];
    const way = container();
    expect(await way.credentials()).toMatchObject({ accessKeyId: 'A' });
    expect(await way.credentials()).toMatchObject({ accessKeyId: 'A' });
    for (let tries = 0; tries < 200 && (await way.credentials()).accessKeyId === 'A'; tries++) {
      await new Promise((soon) => setTimeout(soon, 5));
    }
    expect(await way.credentials()).toMatchObject({ accessKeyId: 'B' });
    expect(requests).toHaveLength(2);
  });

  test('stay in use until they end, if the endpoint fails meanwhile', async () => {
    // The attempts go on for seconds, and so have a path of their own.
    const way = container({ AWS_CONTAINER_CREDENTIALS_FULL_URI: new URL('/fails', uri).href });
    answersOf.set('/fails', gives('A', 4 * MINUTE));
    await way.credentials();
    answersOf.set('/fails', status(500));
    await way.credentials();
    for (let tries = 0; tries < 200 && requests.length < 3; tries++) await new Promise((soon) => setTimeout(soon, 5));
    expect(requests.length).toBeGreaterThanOrEqual(3);
    expect(await way.credentials()).toMatchObject({ accessKeyId: 'A' });
  });

  test('lead to the endpoint of the SDK, even if they tell their account', async () => {
    answers = [gives('A', 60 * MINUTE)];
    const environment = { AWS_REGION: 'eu-west-1', AWS_CONTAINER_CREDENTIALS_FULL_URI: uri };
    expect(await requestOfWay(container())).toEqual(await requestOfSdk(environment, 'locks'));
  });

  test('are asked for again after a second, as a crowd of containers may be refused', async () => {
    const from = Date.now();
    answers = [
      (request, response) => (Date.now() - from < 800 ? status(429) : gives('A', 60 * MINUTE))(request, response),
    ];
    expect(await container().credentials()).toMatchObject({ accessKeyId: 'A' });
    expect(requests.filter(({ url }) => url?.startsWith('/role'))).toHaveLength(3);
  });

  test('that are not to be had, or have ended, give an error that names the endpoint and shows no secret', async () => {
    const ends = (body: string) => (_: IncomingMessage, response: ServerResponse) => response.end(body);
    const cases = [
      ['/refused', status(403), 'the status was 403'],
      ['/html', ends('<html>s3cret'), 'has not AccessKeyId'],
      ['/null', ends('null'), 'has not AccessKeyId'],
      ['/incomplete', ends('{"AccessKeyId":"s3cret"}'), 'has not AccessKeyId'],
      ['/cut', (request: IncomingMessage) => request.destroy(), 'socket hang up'],
      ['/never', () => {}, 'timeout'],
    ] as const;
    const check = async ([path, fault, why]: (typeof cases)[number]) => {
      answersOf.set(path, fault);
      const way = container({ AWS_CONTAINER_CREDENTIALS_FULL_URI: new URL(path, uri).href });
      const error = await way.credentials().catch((thrown) => thrown);
      expect(error).toMatchObject({ name: 'CredentialsProviderError' });
      expect(error.message).toContain('http://127.0.0.1:');
      expect(error.message).toContain(why);
      expect(error.message).not.toContain('s3cret');
      expect(requests.filter(({ url }) => url === path)).toHaveLength(4);
    };
    const ended = async () => {
      const way = container({ AWS_CONTAINER_CREDENTIALS_FULL_URI: new URL('/ended', uri).href });
      answersOf.set('/ended', gives('A', -1));
      await way.credentials();
      answersOf.set('/ended', status(500));
      await expect(way.credentials()).rejects.toMatchObject({ name: 'CredentialsProviderError' });
    };
    await Promise.all([...cases.map(check), ended()]);
  }, 20_000);

  test('of an agent that refuses: the error of an acquire names the fault', async () => {
    answersOf.set('/refuses', status(403));
    const { port } = server.address() as AddressInfo;
    const before = { ...process.env };
    for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name];
    Object.assign(process.env, { HOME, AWS_REGION: 'eu-west-1' });
    process.env.AWS_CONTAINER_CREDENTIALS_FULL_URI = `http://127.0.0.1:${port}/refuses`;
    try {
      const locks = new LockClient({ store: new DynamoDBLockStore({ tableName: 'locks' }), clock: disciplinedClock });
      const error = await locks.acquire('job').catch((thrown) => thrown);
      expect(error).toBeInstanceOf(LockStoreError);
      expect(error.message).toContain('The last fault was CredentialsProviderError');
      expect(error.message).toContain(`http://127.0.0.1:${port}`);
      expect(error.message).toContain('the status was 403');
    } finally {
      for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
      Object.assign(process.env, before);
    }
  });

  test('that are renewed while nobody waits keep no process alive', async () => {
    answersOf.set('/ends', gives('A', 4 * MINUTE));
    const program = `
      const { wayIn } = await import(${JSON.stringify(new URL('../../lib/dynamodb/environment.ts', import.meta.url).href)});
      const way = wayIn(process.env, 'locks');
      await way.credentials();
      await (await fetch(new URL('/fail', process.env.AWS_CONTAINER_CREDENTIALS_FULL_URI))).text();
      await way.credentials();
      await new Promise((over) => setTimeout(over, 300));
      console.log(Date.now());`;
    answersOf.set('/fail', (_, response) => {
      answersOf.set('/ends', status(500));
      response.end();
    });
    const AWS_CONTAINER_CREDENTIALS_FULL_URI = new URL('/ends', uri).href;
    const env = { HOME, AWS_REGION: 'eu-west-1', AWS_CONTAINER_CREDENTIALS_FULL_URI };
    const endedAt = await new Promise<string>((done) => {
      execFile(process.execPath, ['--input-type=module', '-e', program], { env }, (_, out, err) => done(out + err));
    });
    expect(Date.now() - Number(endedAt)).toBeLessThan(1_500);
    expect(requests.filter(({ url }) => url === '/ends').length).toBeGreaterThan(1);
  });
});
