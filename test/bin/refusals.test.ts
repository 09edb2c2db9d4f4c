/** The command, when AWS refuses: without credentials, a Region, a right, or an answer that is DynamoDB's. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { leaseholdIn } from './run.ts';

jest.setTimeout(30_000);

let home: string;
let server: Server;
/** Answers a request by its target, such as `DynamoDB_20120810.Scan`. */
let answer: (target: string) => { status: number; type?: string; date?: string; body: string };

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'leasehold-home-'));
  server = createServer((request, response) => {
    request.resume().on('end', () => {
      const {
        status,
        type = 'application/x-amz-json-1.0',
        date = new Date().toUTCString(),
        body,
      } = answer(String(request.headers['x-amz-target']));
      response.writeHead(status, { 'content-type': type, date }).end(body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(home, { recursive: true });
});
afterEach(() => {
  answer = () => ({ status: 200, body: '{}' });
});

/** An environment in which the SDK finds nothing. */
const bare = () => ({
  HOME: home,
  AWS_EC2_METADATA_DISABLED: 'true',
  ...Object.fromEntries(['ACCESS_KEY_ID', 'SECRET_ACCESS_KEY', 'REGION', 'PROFILE'].map((name) => [`AWS_${name}`, ''])),
  LOCK_STORE: '',
  LOCK_TABLE_NAME: 'locks',
});
const keys = { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'secret' };
const leasehold = (...args: string[]) => {
  const AWS_ENDPOINT_URL = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return leaseholdIn({ ...bare(), ...keys, AWS_REGION: 'eu-west-1', AWS_ENDPOINT_URL }, args);
};

const refusing =
  (...actions: string[]) =>
  (target: string) => {
    const action = target.split('.')[1] ?? '';
    if (!actions.includes(action)) return { status: 200, body: '{"Responses":{}}' };
    const Message = `User: arn:aws:iam::111122223333:user/op is not authorized to perform: dynamodb:${action}`;
    return { status: 400, body: JSON.stringify({ __type: 'com.amazon.coral.service#AccessDeniedException', Message }) };
  };

describe('the command leasehold', () => {
  test.each([[['ls']], [['table', 'create']]])(
    'without credentials says to %j which variables give them',
    async (args) => {
      const { status, out, err } = await leaseholdIn({ ...bare(), AWS_REGION: 'eu-west-1' }, args);
      expect({ status, out }).toEqual({ status: 3, out: '' });
      expect(err).toContain('set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, log in, or give --profile.');
    },
  );

  test.each([[['show', 'job']], [['table', 'create']]])(
    'without a Region says to %j which variable names it',
    async (args) => {
      const { status, err } = await leaseholdIn({ ...bare(), ...keys }, args);
      expect({ status, err }).toEqual({ status: 3, err: expect.stringMatching(/set AWS_REGION.*or give --region/) });
    },
  );

  test.each([
    ['ls', 'Scan', ['ls']],
    ['show', 'GetItem', ['show', 'job']],
    ['release', 'UpdateItem', ['release', 'job', '--lock-id', 'a']],
    ['table create', 'DescribeTable', ['table', 'create']],
    ['table create', 'CreateTable', ['table', 'create']],
  ])('%s names the right that is missing: dynamodb:%s', async (_command, action, args) => {
    answer = refusing(action);
    const { status, out, err } = await leasehold(...args);
    expect({ status, out }).toEqual({ status: 3, out: '' });
    expect(err).toContain(`dynamodb:${action}`);
    expect(err).toContain("'locks'");
  });

  test('doctor names each right that is missing', async () => {
    answer = refusing('Scan', 'UpdateItem', 'DescribeTable');
    const { status, out } = await leasehold('doctor', '--json');
    expect(status).toBe(1);
    const problems = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(problems).toEqual(
      expect.arrayContaining([
        { severity: 'error', message: expect.stringMatching(/^listing the locks failed: .*dynamodb:Scan/) },
        { severity: 'error', message: expect.stringMatching(/^writing a lock failed: .*dynamodb:UpdateItem/) },
        { severity: 'warning', message: expect.stringMatching(/^DescribeTable was not answered.*DescribeTable$/) },
      ]),
    );
    expect(problems.filter(({ severity }) => severity === 'error')).toHaveLength(2);
  });

  test('tells of a clock that is wrong', async () => {
    const item = { lockKey: { S: 'job' }, fencingToken: { N: '1' }, expiresAt: { N: '1' }, acquiredAt: { N: '1' } };
    answer = (target) => ({
      status: 200,
      date: new Date(Date.now() + 7_200_000).toUTCString(),
      body: target.endsWith('UpdateItem') ? JSON.stringify({ Attributes: item }) : '{}',
    });
    const { err } = await leasehold('run', 'job', '--', 'true');
    expect(err).toMatch(/this host's clock is (1 h 59 min|2 h) behind the store's: set one of the two right\./);
  });

  test('tells an answer that is no answer of DynamoDB', async () => {
    answer = () => ({ status: 403, type: 'text/html', body: '<html><h1>Blocked by the proxy</h1></html>' });
    const { status, out, err } = await leasehold('show', 'job');
    expect({ status, out }).toEqual({ status: 3, out: '' });
    expect(err).toContain('403');
  });

  test.each([[['ls']], [['show', 'job']]])('takes an empty answer to %j for no answer', async (args) => {
    answer = () => ({ status: 200, body: '' });
    const { status, out, err } = await leasehold(...args);
    expect({ status, out }).toEqual({ status: 3, out: '' });
    expect(err).toContain('with the status 200, and not as DynamoDB does');
  });
});
