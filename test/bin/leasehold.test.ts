import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type AttributeValue, PutItemCommand, ScanCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, expect, jest } from '@jest/globals';
import { DynamoDBLockStore } from '../../lib/dynamodb.ts';
import { LockClient } from '../../lib/index.ts';
import { type DynamoDB, describe, startDynamoDB, test } from '../support/with-dynamodb.ts';
import { commandIn, leaseholdIn, onTerminal, testOnTerminal } from './run.ts';

// A busy machine needs more time than Jest's default: a test starts the command several times.
jest.setTimeout(30_000);

let server: DynamoDB;
let table: string;
let locks: LockClient;
/** The client of another process: `locks` believes in a lease that an operator has ended until its next renewal. */
let others: LockClient;

beforeAll(async () => {
  server = await startDynamoDB();
  table = await server.createLockTable();
  const store = new DynamoDBLockStore({ client: server.client(), tableName: table });
  locks = new LockClient({ store, owner: 'anna' });
  others = new LockClient({ store, owner: 'bert' });
});
afterAll(() => server.stop());

/** Runs the command, in the environment of a function that `attach` has attached. */
const leasehold = (...args: string[]) =>
  leaseholdIn({ ...server.environment, LOCK_TABLE_NAME: table, LOCK_METRICS: 'emf' }, args);

describe('the command leasehold', () => {
  test.each([
    [['reset-once', 'job', '--token', '7'], "unknown option '--token'"],
    [['show', 'job', '--immediately'], "unknown option '--immediately'"],
    [['ls', '--lock-id', 'a'], "unknown option '--lock-id'"],
    [['release', 'job', '--json'], "unknown option '--json'"],
  ])('refuses an option of another command: %j', async (args, message) => {
    expect(await leasehold(...args)).toMatchObject({ status: 2, out: '', err: expect.stringContaining(message) });
  });

  test('lists the locks under a prefix, with their holders', async () => {
    await locks.acquire('nightly-report');
    await (await locks.acquire('nightly-backup')).release();
    await locks.acquire('hourly/mail');
    const { status, out } = await leasehold('list', 'nightly-');
    expect(status).toBe(0);
    expect(out.trim().split('\n').sort()).toEqual([
      'nightly-backup  free',
      expect.stringMatching(/^nightly-report {2}held by anna, opens in \d+ s unless renewed$/),
    ]);
  });

  test('inspects a lock, and ends the grant whose lockId inspect showed', async () => {
    const lease = await locks.acquire('stuck');
    const { lockId } = JSON.parse((await leasehold('inspect', 'stuck', '--json')).out.split('\n')[0] as string);
    expect(lockId).toBe(lease.lockId);
    const wrong = await leasehold('force-release', 'stuck', '--lock-id', 'another');
    expect(wrong).toMatchObject({
      status: 1,
      out: expect.stringMatching(
        /^'stuck' is not held under the grant another\.\nThe lock is now held by anna, .*: look at it again\.\n$/,
      ),
    });
    const ended = await leasehold('force-release', 'stuck', '--lock-id', lockId);
    expect(ended).toMatchObject({
      status: 0,
      out: expect.stringMatching(`^The grant ${lockId} of 'stuck' is ended. 'stuck' is closed, opens in \\d+ s.\n$`),
      err: 'Until the lock opens, its holder may still work: repair the lock before then only if the holder is dead.\n',
    });
    expect(await others.tryAcquire('stuck')).toBeNull();
    expect(await leasehold('force-release', 'stuck', '--lock-id', lockId, '--immediately')).toMatchObject({
      status: 0,
      out: `The grant ${lockId} of 'stuck' is ended. 'stuck' is free.\n`,
      err: '',
    });
    expect(await others.tryAcquire('stuck')).not.toBeNull();
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
    for (const key of ['never', 'nightly-backup']) {
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

  test('opens by repair a lock that nobody holds, and refuses to repair a lock that is held', async () => {
    const lease = await locks.acquire('shut', { holdAtLeastMs: 86_400_000 });
    expect(await leasehold('repair', 'shut')).toMatchObject({
      status: 1,
      err: `'shut' has the grant ${lease.lockId} of anna: end it first, by leasehold release.\n`,
    });
    await lease.release();
    expect((await leasehold('force-release', 'shut', '--lock-id', 'lost', '--immediately')).out).toMatch(
      /^'shut' is not held under the grant lost\.\nNobody holds the lock 'shut', which is closed, opens in (?:1 d|23 h.*) \(at 20.*Z\): leasehold repair opens it\.\n$/,
    );
    expect(await leasehold('repair', 'shut')).toMatchObject({
      status: 0,
      out: expect.stringContaining("The record of 'shut' is repaired. 'shut' is free.\n"),
    });
    const next = await locks.acquire('shut');
    expect(next.fencingToken).toBeGreaterThan(lease.fencingToken + 1);
    await next.release();
    expect(await leasehold('repair', 'never')).toMatchObject({ status: 1 });
  });

  test.each<[string, Record<string, AttributeValue>]>([
    ['put down', { fencingToken: { N: '0' } }],
    ['raised to 2^53 - 1', { fencingToken: { N: '9007199254740991' } }],
    ['raised to 2^53', { fencingToken: { N: '9007199254740992' } }],
    ['replaced by a text', { fencingToken: { S: 'x' } }],
  ])('repairs a record whose token was %s by a hostile holder', async (how, attributes) => {
    const key = `hostile ${how}`;
    const lease = await locks.acquire(key);
    await lease.release();
    await server.client().send(
      new UpdateItemCommand({
        TableName: table,
        Key: { lockKey: { S: key } },
        UpdateExpression: 'SET fencingToken = :token, expiresAt = :far',
        ExpressionAttributeValues: {
          ':token': attributes.fencingToken as AttributeValue,
          ':far': { N: '9007199254740000' },
        },
      }),
    );
    expect(await leasehold('repair', key, '--immediately')).toMatchObject({ status: 0 });
    const { fencingToken } = await others.acquire(key);
    expect(fencingToken).toBeGreaterThan(lease.fencingToken);
    expect(fencingToken).toBeLessThanOrEqual(Date.now() + 1);
  });

  test.each<[string, string, AttributeValue]>([
    ['acquiredAt is a text', 'acquiredAt', { S: 'x' }],
    ['acquiredAt is negative', 'acquiredAt', { N: '-3' }],
    ['acquiredAt is 2^53 - 1', 'acquiredAt', { N: '9007199254740991' }],
    ['lockId is a number', 'lockId', { N: '5' }],
    ['lockId is empty', 'lockId', { S: '' }],
    ['expiry is 1e100', 'expiresAt', { N: '1e100' }],
  ])('repairs a held record whose %s', async (how, name, value) => {
    const key = `damaged ${how}`;
    await locks.acquire(key);
    await server.client().send(
      new UpdateItemCommand({
        TableName: table,
        Key: { lockKey: { S: key } },
        UpdateExpression: `SET ${name} = :value${name === 'expiresAt' ? '' : ', expiresAt = :far'}`,
        ExpressionAttributeValues: {
          ':value': value,
          ...(name !== 'expiresAt' && { ':far': { N: '4000000000000' } }),
        },
      }),
    );
    expect((await leasehold('list', key)).out).toContain(`somebody has changed the record: ${name} is`);
    if (name === 'acquiredAt' && value.N !== '9007199254740991') {
      const advice = expect.stringMatching(/cannot be ended: its record was damaged\. leasehold repair ends it\.\n$/);
      expect(await leasehold('release', key, '--force')).toMatchObject({ status: 1, out: advice });
    }
    if (name !== 'expiresAt') {
      const closed = expect.stringMatching(/is closed, opens in \d+ d.* \(at 2096.+\)\.\n$/);
      expect(await leasehold('repair', key)).toMatchObject({ status: 0, out: closed });
    }
    expect(await leasehold('repair', key)).toMatchObject({ status: 0, out: expect.stringMatching(/is free\.\n$/) });
    await (await others.acquire(key)).release();
  });

  test('repairs a damaged record with --immediately: opens the lock, and warns of two holders', async () => {
    const lease = await locks.acquire('live');
    await server.client().send(
      new UpdateItemCommand({
        TableName: table,
        Key: { lockKey: { S: 'live' } },
        UpdateExpression: 'SET acquiredAt = :value, fencingToken = :value',
        ExpressionAttributeValues: { ':value': { S: 'x' } },
      }),
    );
    expect(await leasehold('repair', 'live')).toMatchObject({
      status: 3,
      err: expect.stringMatching(
        /^(?!.*Repair the record).*its expiry lies ahead \(--immediately opens the lock.*\(name one by --token\)\.\n$/s,
      ),
    });
    expect(lease.isHeld()).toBe(true);
    expect(await leasehold('repair', 'live', '--immediately')).toMatchObject({
      status: 0,
      out: expect.stringContaining("The record of 'live' is repaired. 'live' is free.\n"),
      err: expect.stringContaining('there may be two holders'),
    });
  });

  test('warns of two holders if the expiry is damaged, since the lock then opens at once', async () => {
    await locks.acquire('endless');
    const setExpiry = (N: string) =>
      server.client().send(
        new UpdateItemCommand({
          TableName: table,
          Key: { lockKey: { S: 'endless' } },
          UpdateExpression: 'SET expiresAt = :value',
          ExpressionAttributeValues: { ':value': { N } },
        }),
      );
    await setExpiry('99999999999999999999');
    expect(await leasehold('repair', 'endless')).toMatchObject({
      status: 0,
      out: expect.stringContaining("'endless' is free.\n"),
      err: expect.stringContaining('there may be two holders'),
    });
  });

  test('lists and ends locks under the sort key of an existing table', async () => {
    const tableName = await server.createLockTable(undefined, { keyAttribute: 'PK', sortKeyAttribute: 'SK' });
    const sortKey = { name: 'SK', value: 'LOCK=1' };
    const store = new DynamoDBLockStore({ client: server.client(), tableName, keyAttribute: 'PK', sortKey });
    const lease = await new LockClient({ store, owner: 'anna' }).acquire('nightly');
    const layout = [
      '--table',
      tableName,
      '--key-attribute',
      'PK',
      '--sort-key',
      'SK=LOCK=1',
      '--ttl-attribute',
      'until',
    ];
    expect((await leasehold('list', ...layout)).out).toMatch(/^nightly {2}held by anna/);
    expect((await leasehold('list', ...layout.with(5, 'SK=OTHER'))).out).toBe('');
    const ending = await leasehold('force-release', 'nightly', '--lock-id', lease.lockId, '--immediately', ...layout);
    expect(ending).toMatchObject({ status: 0 });
    expect(await leasehold('repair', 'nightly', ...layout)).toMatchObject({ status: 0 });
    const { Items } = await server.client().send(new ScanCommand({ TableName: tableName }));
    expect(Items?.[0]).toHaveProperty('until');
  });

  test('shows keys, owners, data and messages escaped, as text and as JSON', async () => {
    const owner = 'me\u001b[2K\rnightly-report  free';
    const key = 'tenant/\u001b]0;x\u0007\nforged  free\u202e';
    const data = { c1: '\u009b31m', line: 'a\u2028b' };
    await locks.acquire(key, { owner, data });
    const listed = (await leasehold('list', 'tenant/')).out;
    expect(listed.split('\n')).toEqual([
      expect.stringMatching(
        /^tenant\/\\u001b\]0;x\\u0007\\u000aforged {2}free\\u202e {2}held by me\\u001b\[2K\\u000dnightly/,
      ),
      '',
    ]);
    for (const args of [
      ['list', 'tenant/', '--json'],
      ['inspect', key, '--json'],
    ]) {
      const { out } = await leasehold(...args);
      expect(out.trimEnd()).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u);
      expect(JSON.parse(out)).toMatchObject({ key, owner, data });
    }
    const { out } = await leasehold('show', key);
    expect(out).toContain('\n  holder         me\\u001b[2K\\u000dnightly-report  free\n');
    expect(out).toContain('\n  data           {"c1":"\\u009b31m","line":"a\\u2028b"}\n');
    expect((await leasehold('inspect', 'no\u009bthing')).err).toContain("'no\\u009bthing'");
    expect((await leasehold('list\u001b[2K')).err).toContain("unknown command 'list\\u001b[2K'");
  });

  test('shows when a lock was acquired, and when it expires, as people read times', async () => {
    const { acquiredAt } = await locks.acquire('times');
    const { expiresAt = 0 } = (await locks.inspect('times')) ?? {};
    const [acquired, expires] = [acquiredAt, expiresAt].map((ms) => new Date(ms).toISOString());
    const { out } = await leasehold('show', 'times');
    expect(out).toContain(`\n  acquired       ${acquired} (`);
    expect(out).toContain(`\n  expires        ${expires} (in `);
  });

  test('shows the version of the package', async () => {
    const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'));
    expect(await leasehold('--version')).toEqual({ status: 0, out: `${version}\n`, err: '' });
  });

  test('says that a lock without a record is free', async () => {
    expect(await leasehold('inspect', 'never')).toMatchObject({
      status: 1,
      err: "There is no record of the lock 'never': it is free.\n",
    });
  });

  test.each([
    { args: [], says: 'Usage: leasehold COMMAND' },
    { args: ['lsit'], says: "unknown command 'lsit'\n(Did you mean list?)" },
    { args: ['help', 'lsit'], says: "unknown command 'lsit'" },
    { args: ['lsit', '--help'], says: "unknown command 'lsit'" },
    { args: ['table', 'help', 'foo'], says: "unknown command 'foo'" },
    { args: ['show'], says: "missing required argument 'key'" },
    { args: ['repair', 'a', '--token', 'x'], says: "'--token <n>' argument 'x' is invalid. It must be a whole number" },
    { args: ['ls', '--sort', 'size'], says: 'Allowed choices are key, owner, time, left' },
    { args: ['ls', '--region', ''], says: "--region is '', as from a variable that is not set" },
    {
      args: ['ls', '--endpoint', 'localhost'],
      says: "--endpoint must be a URL, such as http://localhost:8000, but it is 'localhost'",
    },
    { args: ['list', '--tabel', 'x'], says: "'--tabel'\n(Did you mean --table?)" },
    { args: ['list', '--sort-key', 'SK'], says: "--sort-key must be NAME=VALUE, such as SK=LOCK, but it is 'SK'." },
    { args: ['list', '--key-attribute', 'owner'], says: "--key-attribute must not be 'owner'" },
    { args: ['list', '--ttl-attribute', 'expiresAt'], says: "--ttl-attribute must not be 'expiresAt'" },
    { args: ['list', '--retention-days', 'x'], says: '--retention-days must be a number of days from 1' },
    { args: ['list', '--table', 'my table'], says: "--table must be the table's ARN, or 3 to 255 letters" },
    { args: ['release', 'a', '--lock-id', ''], says: '--lock-id must not be empty' },
    { args: ['show', 'k'.repeat(1_025)], says: "A record with a longer key, as ls may list one, is another program's" },
    { args: ['show', 'a', 'b'], says: "too many arguments for 'show'. Expected 1 argument but got 2" },
  ])('answers $args with a message and exit status 2', async ({ args, says }) => {
    const { status, err } = await leasehold(...args);
    expect(status).toBe(2);
    expect(err).toContain(says);
  });

  test('needs the Node of package.json, and says which Node runs', async () => {
    const code = encodeURIComponent("Object.defineProperty(process.versions, 'node', { value: '22.2.9' })");
    const { status, out, err } = await leaseholdIn({ NODE_OPTIONS: `--import "data:text/javascript,${code}"` }, ['ls']);
    expect({ status, out }).toEqual({ status: 2, out: '' });
    const { engines } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    expect(err).toContain(
      `needs Node ${engines.node.replace('>=', '')} or later, but this is Node 22.2.9, ${process.execPath}`,
    );
  });

  test('completes commands and options, and tells each in one line', async () => {
    const { out } = await leaseholdIn({}, ['complete', '--', '']);
    const lines = out.trim().split('\n');
    expect(lines.map((line) => line.split('\t')[0])).toEqual(
      expect.arrayContaining(['ls', 'run', 'release', 'doctor']),
    );
    for (const line of lines.slice(0, -1)) expect(line).toMatch(/^[a-z-]+\t\S/);
  });

  test('shows the help on the command help, too', async () => {
    const { status, out } = await leasehold('help');
    expect({ status, out }).toEqual({ status: 0, out: (await leasehold('--help')).out });
  });

  test('lists the locks in a state, and in an order', async () => {
    await locks.acquire('states/b');
    await others.acquire('states/a');
    await (await locks.acquire('states/free')).release();
    const keys = async (...args: string[]) =>
      (await leasehold('ls', 'states/', ...args, '--json')).out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).key);
    expect(await keys('--held', '--sort', 'key')).toEqual(['states/a', 'states/b']);
    expect(await keys('--sort', 'owner')).toEqual(['states/b', 'states/free', 'states/a']);
    expect((await leasehold('ls', 'states/', '--bad')).out).toBe('');
  });

  test('ends the present grant with --force, and asks without, where nobody can answer: a usage error', async () => {
    const lease = await locks.acquire('forced');
    expect(await leasehold('release', 'forced')).toMatchObject({
      status: 2,
      err: expect.stringContaining('give --force to end the present grant, or --lock-id to end a certain one'),
    });
    expect((await locks.inspect('forced'))?.lockId).toBe(lease.lockId);
    expect(await leasehold('release', 'forced', '--force', '--immediately')).toMatchObject({
      status: 0,
      out: `The grant ${lease.lockId} of 'forced' is ended. 'forced' is free.\n`,
    });
    expect(await leasehold('release', 'forced', '--force')).toMatchObject({
      status: 1,
      out: "Nobody holds the lock 'forced', which is free.\n",
    });
  });

  test('opens by release --immediately a lock that holdAtLeastMs keeps closed', async () => {
    await (await locks.acquire('at least', { holdAtLeastMs: 86_400_000 })).release();
    expect(await leasehold('release', 'at least', '--force')).toMatchObject({ status: 1 });
    expect(await leasehold('release', 'at least', '--force', '--immediately')).toMatchObject({
      status: 0,
      out: expect.stringMatching(/'at least' is free\.\n$/),
    });
  });

  const asking = (args: string[], then: (screen: string) => Promise<string>) =>
    onTerminal({ ...server.environment, LOCK_TABLE_NAME: table }, args, then);

  testOnTerminal('says on a terminal that there is no lock to list', async () => {
    const { status, screen } = await asking(['ls', 'no-such/'], async () => '');
    expect({ status, screen }).toEqual({ status: 0, screen: expect.stringContaining('There is no such lock.') });
    expect(await leasehold('ls', 'no-such/')).toEqual({ status: 0, out: '', err: '' });
  });

  testOnTerminal(
    'ends no grant but the one that it showed, if another operator was quicker, and a new holder came',
    async () => {
      const { lockId } = await others.acquire('raced');
      const { status, screen } = await asking(['release', 'raced'], async (shown) => {
        expect(shown).toContain(lockId);
        await locks.forceRelease('raced', { lockId, immediately: true });
        await locks.acquire('raced');
        return 'y';
      });
      // The other operator ended the grant: that is what this operator wants, and is told.
      expect(status).toBe(0);
      expect(screen).toMatch(`The grant ${lockId} of 'raced' is ended. 'raced' is held by anna, opens in`);
      expect(screen).not.toContain('repair the lock');
    },
  );

  testOnTerminal(
    'asks before a repair, says what keeps the lock closed, and changes nothing without a yes',
    async () => {
      const { lockId } = await others.acquire('ended');
      await locks.forceRelease('ended', { lockId });
      expect((await leasehold('show', 'ended')).out).toMatch(
        /closed by +holdAtLeastMs, a forced release, or a wrong clock/,
      );
      const no = await asking(['repair', 'ended'], async () => '');
      expect(no).toEqual({ status: 1, screen: expect.stringContaining('Nothing was changed.') });
      expect(no.screen).toContain(
        "If the last holder of 'ended' still runs, as after a forced release, there may be two",
      );
      expect(await locks.tryAcquire('ended')).toBeNull();
      const yes = await asking(['repair', 'ended'], async () => 'y');
      expect(yes).toEqual({ status: 0, screen: expect.stringContaining("'ended' is free.") });
      expect((await asking(['repair', 'ended', '--force'], async () => '')).screen).not.toContain('[y/N]');
    },
  );

  test.each([
    ['a full disk', '"$@" ls > /dev/full', 74, 'the output could not be written: ENOSPC'],
    ['a full disk for the version', '"$@" --version > /dev/full', 74, 'the output could not be written: ENOSPC'],
    ['a reader that has gone', 'exec 3> >(exec true); sleep 0.3; "$@" ls >&3', 141, ''],
  ])('tells %s by its exit status', async (_name, script, status, message) => {
    await (await locks.acquire('output')).release();
    const { command, env } = commandIn({ ...server.environment, LOCK_TABLE_NAME: table });
    const { status: code, stderr } = spawnSync('bash', ['-c', script, 'bash', ...command], {
      env,
      encoding: 'utf8',
    });
    expect({ code, stderr }).toEqual({ code: status, stderr: expect.stringContaining(message) });
  });

  test('says how to name the table if nobody names a table', async () => {
    const { status, err } = await leaseholdIn({ LOCK_TABLE_NAME: '' }, ['list']);
    expect(status).toBe(2);
    expect(err).toContain(
      'The lock table is missing: give --table NAME or --store URL, or set LOCK_TABLE_NAME, LOCK_BUCKET_NAME or LOCK_STORE.',
    );
  });

  test('finds by doctor a table with another key, and a table that is as it should be has no error', async () => {
    const right = await leasehold('doctor');
    // An emulator has no CloudWatch, and may know nothing of backups.
    expect(right).toMatchObject({
      status: 0,
      err: expect.stringContaining('The metrics and alarms were not looked at'),
    });
    expect(right.out).not.toMatch(/error:|warning:/);
    expect(right.out).toContain("ok: The table's key is lockKey.\nok: TTL reads 'ttl'.\nok: This host's clock");
    expect(right.out).toContain('Nothing is wrong with the place of the locks.');
    const tableName = await server.createLockTable(undefined, { keyAttribute: 'PK' });
    const wrong = await leasehold('doctor', '--table', tableName);
    expect(wrong.status).toBe(1);
    expect(wrong.out).toContain(
      "error: The table's key is PK, and the locks look for lockKey: give --key-attribute and --sort-key",
    );
    const findings = (await leasehold('doctor', '--table', tableName, '--key-attribute', 'PK', '--json')).out;
    for (const line of findings.trim().split('\n')) expect(line && JSON.parse(line).severity).not.toBe('error');
    // Nothing is left behind by the requests that doctor tries.
    const { Items } = await server.client().send(new ScanCommand({ TableName: tableName }));
    expect(Items).toEqual([]);
  });

  test("lists nothing of another program's table, and says what to mend", async () => {
    const TableName = await server.createLockTable(undefined, { keyAttribute: 'orderId' });
    await server.client().send(new PutItemCommand({ TableName, Item: { orderId: { S: '4711' } } }));
    for (const args of [['ls'], ['ls', 'nightly-', '--json']]) {
      const { status, out, err } = await leasehold(...args, '--table', TableName);
      expect({ status, out }).toEqual({ status: 3, out: '' });
      expect(err).toContain(
        `the key of the table '${TableName}' is not 'lockKey' (string) alone: mend --key-attribute or --sort-key, or`,
      );
    }
  });

  test('names the table and the Region if the table does not exist', async () => {
    const { status, err } = await leasehold('list', '--table', 'nowhere');
    expect(status).toBe(3);
    expect(err).toContain(
      `Listing locks: there is no table 'nowhere' in the Region '${server.region}': create it (leasehold table create), or mend LOCK_TABLE_NAME or --table.`,
    );
  });
});
