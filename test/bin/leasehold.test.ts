import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type DynamoDB, startDynamoDB } from '../../demo/local/launcher.ts';
import { DynamoDBLockStore } from '../../lib/dynamodb.ts';
import { LockClient } from '../../lib/index.ts';

const command = join(import.meta.dirname, '../../bin/leasehold.ts');

let server: DynamoDB;
let table: string;
let locks: LockClient;

beforeAll(async () => {
  server = await startDynamoDB();
  table = await server.createLockTable();
  locks = new LockClient({
    store: new DynamoDBLockStore({ client: server.client(), tableName: table }),
    owner: 'anna',
  });
});
afterAll(() => server.stop());

async function leasehold(...args: string[]): Promise<{ status: number; out: string; err: string }> {
  const env = { ...process.env, ...server.environment, LOCK_TABLE_NAME: table };
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [command, ...args], { env });
    return { status: 0, out: stdout, err: stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { status: code, out: stdout, err: stderr };
  }
}

describe('the command leasehold', () => {
  test('lists the locks under a prefix, with their holders', async () => {
    await locks.acquire('nightly/report');
    await (await locks.acquire('nightly/backup')).release();
    await locks.acquire('hourly/mail');
    const { status, out } = await leasehold('list', 'nightly/');
    expect(status).toBe(0);
    expect(out.trim().split('\n').sort()).toEqual([
      'nightly/backup  free',
      expect.stringMatching(/^nightly\/report {2}held by anna, for \d+ s unless renewed$/),
    ]);
  });

  test('inspects a lock, and ends the grant whose lockId inspect showed', async () => {
    const lease = await locks.acquire('stuck');
    const { lockId } = JSON.parse((await leasehold('inspect', 'stuck', '--json')).out.split('\n')[0] as string);
    expect(lockId).toBe(lease.lockId);
    const wrong = await leasehold('force-release', 'stuck', '--lock-id', 'another');
    expect(wrong).toMatchObject({ status: 1, out: "'stuck' is not held under the grant another.\n" });
    expect(await leasehold('force-release', 'stuck', '--lock-id', lockId, '--immediately')).toMatchObject({
      status: 0,
    });
    expect(await locks.tryAcquire('stuck')).not.toBeNull();
  });

  test('resets the token of a lock that nobody holds, and shows the token', async () => {
    await locks.using('monthly', { once: '2026-01-01T03:00:00+01:00' }, () => {});
    const held = await locks.acquire('monthly');
    expect(await leasehold('reset-once', 'monthly')).toMatchObject({
      status: 1,
      err: expect.stringContaining("The lock 'monthly' is busy"),
    });
    await held.release();
    expect(await leasehold('reset-once', 'monthly')).toMatchObject({
      status: 0,
      out: "'monthly' was done up to 2026-01-01T02:00:00Z, and is done for no token now.\n",
    });
    await locks.using('monthly', { once: '2026-01-01T02:00:00Z' }, () => {});
    for (const key of ['never', 'nightly/backup']) {
      expect(await leasehold('reset-once', key)).toMatchObject({
        status: 1,
        out: `'${key}' is done for no token: there is nothing to reset.\n`,
      });
    }
  });

  test('lists a lock whose record somebody has changed, and says what was changed', async () => {
    await (await locks.acquire('changed')).release();
    await server.client().send(
      new UpdateItemCommand({
        TableName: table,
        Key: { lockKey: { S: 'changed' } },
        UpdateExpression: 'SET doneToken = :done',
        ExpressionAttributeValues: { ':done': { N: '0' } },
      }),
    );
    const { out } = await leasehold('list', 'changed');
    expect(out).toBe('changed  free; somebody has changed the record: doneToken is of type N, not S\n');
  });

  test('says that a lock without a record is free', async () => {
    expect(await leasehold('inspect', 'never')).toMatchObject({
      status: 1,
      err: "There is no record of the lock 'never': it is free.\n",
    });
  });

  test.each([
    { args: [], says: 'A command is missing.' },
    { args: ['lsit'], says: "There is no command 'lsit'." },
    { args: ['inspect'], says: 'inspect needs the KEY of a lock.' },
    { args: ['force-release', 'a'], says: 'force-release needs --lock-id: leasehold inspect a shows it.' },
    { args: ['list', '--tabel', 'x'], says: "'--tabel'" },
    { args: ['inspect', 'a', 'b'], says: 'inspect takes one argument, but got 2.' },
  ])('answers $args with a message and exit status 2', async ({ args, says }) => {
    const { status, err } = await leasehold(...args);
    expect(status).toBe(2);
    expect(err).toContain(says);
  });

  test('names the table and the Region if the table does not exist', async () => {
    const { status, err } = await leasehold('list', '--table', 'nowhere');
    expect(status).toBe(3);
    expect(err).toContain(`Listing locks: there is no table 'nowhere' in the Region '${server.region}'`);
  });
});
