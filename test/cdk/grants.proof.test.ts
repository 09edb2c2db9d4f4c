import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient, TransactWriteCommand } from '@aws-sdk/lib-dynamodb';
import { runSimulation } from '@cloud-copilot/iam-simulate';
import { afterAll, beforeAll, expect } from '@jest/globals';
import { App, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { type IRole, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { LockTable } from '../../lib/cdk/index.ts';
import { conditionCheck, DynamoDBLockStore, writeWhileHeld } from '../../lib/dynamodb.ts';
import { LockBusyError, LockClient, slotKeys } from '../../lib/index.ts';
import { runTasks } from '../../lib/tasks/index.ts';
import { type DynamoDB, describe, startDynamoDB, test } from '../support/with-dynamodb.ts';

const ACCOUNT = '111111111111';
const tableArn = (name: string) => `arn:aws:dynamodb:us-east-1:${ACCOUNT}:table/${name}`;
const TABLE = 'locks';

/** A question to IAM: about one request, or about one item of a transaction. */
interface Asked {
  /** The origin of the question, for people to read. */
  readonly what: string;
  readonly action: string;
  readonly table: string;
  /** The partition keys that the request names. */
  readonly keys: readonly string[];
  /** The attributes that the request names. Absent if it names none: a read of whole items. */
  readonly attributes?: readonly string[];
}

interface Statement {
  Effect: string;
  Action: string | string[];
  Resource: string | string[];
  Condition?: Record<string, Record<string, string | string[]>>;
}

type Key = { lockKey: { S: string } };

/** Turns a request, as it goes over the wire, into the questions that IAM is asked. */
function askedOf(what: string, operation: string, body: Record<string, unknown>): Asked[] {
  if (operation === 'TransactWriteItems') {
    const items = body.TransactItems as Record<string, { TableName: string; Key?: Key }>[];
    return items.flatMap((item) =>
      Object.entries(item).map(([kind, { TableName, Key }]) => ({
        what,
        action: kind === 'ConditionCheck' ? 'ConditionCheckItem' : `${kind}Item`,
        table: TableName,
        keys: Key ? [Key.lockKey.S] : [],
      })),
    );
  }
  if (operation === 'BatchGetItem') {
    return Object.entries(body.RequestItems as Record<string, { Keys: Key[] }>).map(([table, { Keys }]) => ({
      what,
      action: operation,
      table,
      keys: Keys.map(({ lockKey }) => lockKey.S),
    }));
  }
  const { TableName, Key } = body as { TableName: string; Key?: Key };
  const attributes = operation === 'UpdateItem' && { attributes: attributesOf(body) };
  return [{ what, action: operation, table: TableName, keys: Key ? [Key.lockKey.S] : [], ...attributes }];
}

/** The attributes in the key and the expressions of an update, which are the words that are no part of the language. */
function attributesOf(body: Record<string, unknown>): string[] {
  const names = (body.ExpressionAttributeNames ?? {}) as Record<string, string>;
  const language = /^(SET|REMOVE|AND|OR|NOT|if_not_exists|attribute_(not_)?exists|attribute_type)$/;
  const words = [...`${body.UpdateExpression} ${body.ConditionExpression}`.matchAll(/(?<![:\w#])#?[A-Za-z]\w*/g)];
  const named = words.map(([word]) => names[word] ?? word).filter((word) => !language.test(word));
  return [...new Set([...Object.keys(body.Key as Key), ...named])].sort();
}

async function isAllowed(statements: readonly Statement[], asked: Asked): Promise<boolean> {
  if (statements.length === 0) return false;
  const answer = await runSimulation(
    {
      request: {
        principal: `arn:aws:iam::${ACCOUNT}:role/holder`,
        action: `dynamodb:${asked.action}`,
        resource: { resource: tableArn(asked.table), accountId: ACCOUNT },
        contextVariables: {
          ...(asked.keys.length > 0 && { 'dynamodb:LeadingKeys': [...asked.keys] }),
          ...(asked.attributes && { 'dynamodb:Attributes': [...asked.attributes] }),
        },
      },
      identityPolicies: [{ name: 'grants', policy: { Version: '2012-10-17', Statement: statements } }],
      serviceControlPolicies: [
        {
          orgIdentifier: 'root',
          policies: [
            {
              name: 'all',
              policy: { Version: '2012-10-17', Statement: { Effect: 'Allow', Action: '*', Resource: '*' } },
            },
          ],
        },
      ],
      resourceControlPolicies: [],
    },
    {},
  );
  if (answer.resultType === 'error') throw new Error(JSON.stringify(answer.errors));
  return answer.overallResult === 'Allowed';
}

/** The statements of a role's policy after a grant, as in the template. */
function synthesised(grant: (table: LockTable, role: IRole) => void): Statement[] {
  const app = new App({ builtinCloudFormationValidation: false, analyticsReporting: false });
  const stack = new Stack(app, 'Stack');
  const role = new Role(stack, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
  const table = new LockTable(stack, 'Locks');
  grant(table, role);
  const [policy] = Object.values(Template.fromStack(stack).findResources('AWS::IAM::Policy'));
  const statements = JSON.stringify(policy?.Properties.PolicyDocument.Statement);
  // CloudFormation would put the table's ARN here.
  return JSON.parse(statements.replaceAll(JSON.stringify(stack.resolve(table.tableArn)), `"${tableArn(TABLE)}"`));
}

/** Requests that no grant on the locks 'jobs/…' and 'nightly' may allow. */
const FORBIDDEN: Asked[] = [
  ...['UpdateItem', 'GetItem', 'BatchGetItem', 'ConditionCheckItem'].flatMap((action): Asked[] => [
    { what: 'another prefix', action, table: TABLE, keys: ['reports/1'] },
    { what: 'a prefix that only begins like ours', action, table: TABLE, keys: ['job'] },
    { what: 'a key that only begins like ours', action, table: TABLE, keys: ['nightly-2'] },
    { what: 'ours in another case', action, table: TABLE, keys: ['Jobs/1'] },
    { what: 'mixed prefixes', action, table: TABLE, keys: ['jobs/1', 'reports/1'] },
    { what: 'no keys', action, table: TABLE, keys: [] },
    { what: 'another table', action, table: 'orders', keys: ['jobs/1'] },
  ]),
  ...['PutItem', 'DeleteItem', 'BatchWriteItem', 'Query', 'PartiQLSelect', 'PartiQLUpdate'].map((action) => ({
    what: 'what no lock needs',
    action,
    table: TABLE,
    keys: ['jobs/1'],
  })),
  ...['DescribeTable', 'DeleteTable', 'UpdateTimeToLive'].map((action) => ({
    what: 'the table itself',
    action,
    table: TABLE,
    keys: [],
  })),
];
const SCAN: Asked = { what: 'a scan', action: 'Scan', table: TABLE, keys: [] };
const BATCH: Asked = { what: 'a fleet’s read', action: 'BatchGetItem', table: TABLE, keys: ['jobs/1', 'jobs/2'] };
const CHECK: Asked = { what: 'a guarded write', action: 'ConditionCheckItem', table: TABLE, keys: ['jobs/1'] };
/** The same request, of attributes that a forced release names. */
const ofAttributes = (asked: Asked): Asked => ({ ...asked, attributes: ['lockKey', 'lockId', 'expiresAt'] });
/** Updates that an operator with a grant to force a release must not make. */
const OTHER_UPDATES: Asked[] = ['fencingToken', 'doneToken', 'owner', 'leaseMs', 'data', 'ttl'].map((attribute) => ({
  what: `a write of ${attribute}`,
  action: 'UpdateItem',
  table: TABLE,
  keys: ['jobs/1'],
  attributes: ['lockKey', attribute],
}));
const UPDATE: Asked = { what: 'a write', action: 'UpdateItem', table: TABLE, keys: ['jobs/1'] };
const READ: Asked = { what: 'a read', action: 'GetItem', table: TABLE, keys: ['jobs/1'] };

/** Requests for slots that are none of the locks 'partner' and 'shards', and a read of the slots of both. */
const OTHER_SLOTS: Asked[] = ['UpdateItem', 'GetItem', 'BatchGetItem'].flatMap((action): Asked[] => [
  { what: 'a slot too high', action, table: TABLE, keys: ['partner#3'] },
  { what: 'a slot of three digits', action, table: TABLE, keys: ['shards#100'] },
  { what: 'a slot of a slot', action, table: TABLE, keys: ['partner#1#1'] },
  { what: 'a key that only begins like ours', action, table: TABLE, keys: ['partners'] },
  { what: 'a slot of another lock', action, table: TABLE, keys: ['partner', 'nightly#1'] },
  { what: 'slots in another table', action, table: 'orders', keys: ['partner', 'partner#1'] },
  { what: 'slots in another table', action, table: 'orders', keys: ['shards'] },
]);

const locks = { keyPrefixes: ['jobs/'], keys: ['nightly'] };

interface Case {
  readonly grant: (table: LockTable, role: IRole) => void;
  /** The recorded operations that the grant is for. */
  readonly for: readonly string[];
  readonly forbidden: readonly Asked[];
  /** The recorded operations of which the grant must forbid every update. */
  readonly forbids?: readonly string[];
}

const HOLDING = [
  'tryAcquire',
  'acquire, busy',
  'acquire, waiting',
  'renew',
  'release',
  'give back',
  'hand off',
  'resume',
];

const CASES: Record<string, Case> = {
  'grants.lock': {
    grant: (table, role) => table.grants.lock(role, locks),
    for: [...HOLDING, 'inspect', 'repair'],
    forbidden: [...FORBIDDEN, SCAN, BATCH, CHECK],
  },
  'grants.lock with guardedWrites': {
    grant: (table, role) => table.grants.lock(role, { ...locks, guardedWrites: true }),
    for: [...HOLDING, 'inspect', 'conditionCheck', 'writeWhileHeld'],
    forbidden: [...FORBIDDEN, SCAN, BATCH],
  },
  'grants.lock with fleet': {
    grant: (table, role) => table.grants.lock(role, { ...locks, fleet: true }),
    for: [...HOLDING, 'inspect', 'read many', 'run tasks'],
    forbidden: [...FORBIDDEN, SCAN, CHECK],
  },
  'grants.lock with permits': {
    grant: (table, role) => table.grants.lock(role, { ...locks, permits: { partner: 3, shards: 12 } }),
    for: [...HOLDING, 'inspect', 'take slots'],
    forbidden: [...FORBIDDEN, ...OTHER_SLOTS, SCAN, BATCH, CHECK],
  },
  'grants.inspect with permits': {
    grant: (table, role) => table.grants.inspect(role, { permits: { partner: 3 } }),
    for: ['inspect slots'],
    forbidden: [...FORBIDDEN, ...OTHER_SLOTS, SCAN, BATCH, CHECK, UPDATE, READ],
  },
  'grants.inspect': {
    grant: (table, role) => table.grants.inspect(role, locks),
    for: ['inspect'],
    forbidden: [...FORBIDDEN, SCAN, BATCH, CHECK, UPDATE],
  },
  'grants.forceRelease': {
    grant: (table, role) => table.grants.forceRelease(role, locks),
    for: ['inspect', 'force release', 'force release, immediately'],
    forbidden: [...FORBIDDEN, ...FORBIDDEN.map(ofAttributes), SCAN, BATCH, CHECK, UPDATE, ...OTHER_UPDATES],
    forbids: ['tryAcquire', 'renew', 'release', 'hand off', 'resume', 'give back', 'repair'],
  },
  'grants.list': {
    grant: (table, role) => table.grants.list(role),
    for: ['list', 'list by prefix'],
    forbidden: [...FORBIDDEN, BATCH, CHECK, UPDATE, READ, { ...SCAN, table: 'orders' }],
  },
};

let dynamodb: DynamoDB;
/** The questions to IAM, by public operation. */
let recorded: Record<string, Asked[]>;
/** The methods of the store that the operations called. */
const called = new Set<string>();

beforeAll(async () => {
  dynamodb = await startDynamoDB();
  recorded = await recordEveryOperation(dynamodb.client(), await dynamodb.createLockTable());
}, 30_000);
afterAll(() => dynamodb?.stop());

/** Runs each public operation on a real table, and records the requests that went over the wire. */
async function recordEveryOperation(client: DynamoDBClient, tableName: string): Promise<Record<string, Asked[]>> {
  const operations: Record<string, Asked[]> = {};
  let what = 'set-up';
  client.middlewareStack.add(
    (next) => (args) => {
      const { headers, body } = args.request as { headers: Record<string, string>; body: Uint8Array };
      const operation = headers['x-amz-target']?.split('.')[1] ?? '';
      // The table has a unique name. The policy knows the table as TABLE.
      const asked = askedOf(what, operation, JSON.parse(new TextDecoder().decode(body).replaceAll(tableName, TABLE)));
      operations[what] = [...(operations[what] ?? []), ...asked];
      return next(args);
    },
    { step: 'finalizeRequest', name: 'record' },
  );
  const during = async <T>(name: string, run: () => Promise<T>): Promise<T> => {
    what = name;
    return run().finally(() => {
      what = 'set-up';
    });
  };

  const store = new DynamoDBLockStore({ tableName, client });
  for (const name of storeMethods) {
    const method = store[name] as (...args: unknown[]) => unknown;
    Object.assign(store, {
      [name]: (...args: unknown[]) => {
        called.add(name);
        return method.apply(store, args);
      },
    });
  }
  // No heartbeat of theirs is sent in the middle of another operation.
  const one = new LockClient({ store, owner: 'one', leaseMs: 300_000 });
  const two = new LockClient({ store, owner: 'two', leaseMs: 300_000 });
  const documents = DynamoDBDocumentClient.from(client);

  const lease = await during('tryAcquire', () => one.tryAcquire('jobs/1', { once: '2026-01-01', data: { page: 1 } }));
  if (!lease) throw new Error('The lock of a new table must be free.');
  await during('acquire, busy', () => two.acquire('jobs/1').catch(expectBusy));
  await during('acquire, waiting', () => two.acquire('jobs/1', { waitMs: 200 }).catch(expectBusy));
  await during('renew', () => lease.renew());
  await during('inspect', () => Promise.all([two.inspect('jobs/1'), two.inspect('nightly')]));
  await during('read many', () => store.readMany(['jobs/1', 'jobs/2', 'nightly']));
  await during('run tasks', () => workTogether([one, two], '2026-01-01'));
  await during('run tasks', () => workTogether([one], '2026-01-01'));
  await during('take slots', async () => {
    for (let holder = 0; holder < 3; holder++) await one.acquire('partner', { permits: 3 });
    await two.acquire('partner', { permits: 3, waitMs: 200 }).catch(expectBusy);
    await Promise.all(Array.from({ length: 12 }, () => one.acquire('shards', { permits: 12, waitMs: 10_000 })));
    await two.acquire('shards', { permits: 12, waitMs: 200 }).catch(expectBusy);
  });
  await during('inspect slots', () => two.inspectMany(slotKeys('partner', 3)));
  await during('inspect slots', () => Promise.all(slotKeys('partner', 3).map((key) => two.inspect(key))));
  await during('conditionCheck', () =>
    documents.send(new TransactWriteCommand({ TransactItems: [conditionCheck(lease)] })),
  );
  await during('writeWhileHeld', () => writeWhileHeld(lease, documents, []));
  const handle = await during('hand off', () => lease.handOff({ leaseMs: 10_000 }));
  const resumed = await during('resume', () => two.resume(handle));
  await during('release', () => resumed.release({ done: true }));
  await during('list', () => drain(one.list()));
  await during('list by prefix', () => drain(one.list({ prefix: 'jobs/' })));
  for (const [key, immediately] of [
    ['jobs/forced', false],
    ['nightly', true],
  ] as const) {
    const held = await one.acquire(key);
    await during(`force release${immediately ? ', immediately' : ''}`, () =>
      two.forceRelease(held.key, { lockId: held.lockId, immediately }),
    );
  }
  const seen = await one.inspect('jobs/forced');
  await during('repair', () => two.repair('jobs/forced', { seen }));
  // The client of the lease that was ended believes in it until its next heartbeat.
  const night = await two.acquire('nightly');
  const { key, lockId, fencingToken } = night;
  await during('give back', () =>
    store.giveBack({ key, lockId, fencingToken, now: Date.now(), previous: { type: 'nothing' } }),
  );
  await Promise.all([one, two].map((client) => client.close({ graceMs: 0 })));
  delete operations['set-up'];
  return operations;
}

const TASKS = Array.from({ length: 200 }, (_, number) => `jobs/task-${number}`);

/** Runs so many tasks that a worker reads more than one batch, and meets tasks that the others hold and have done. */
async function workTogether(workers: readonly LockClient[], once: string): Promise<void> {
  const runs = workers.map((locks, number) =>
    runTasks(TASKS, { locks, key: (task) => task, once, worker: { number, of: workers.length } }, () => {}),
  );
  for (const { failed } of await Promise.all(runs)) if (failed.length > 0) throw failed[0]?.error;
}

// A check reads a key that a grant may leave out, and then says so.
const storeMethods = Object.getOwnPropertyNames(DynamoDBLockStore.prototype).filter(
  (name) => !['constructor', 'maxInFlight', 'check'].includes(name),
) as (keyof DynamoDBLockStore)[];

async function drain(states: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of states);
}

function expectBusy(error: unknown): void {
  if (!(error instanceof LockBusyError)) throw error;
}

/** The faults of a policy: operations that it wrongly denies, and requests that it wrongly allows. */
async function faultsOf(
  statements: readonly Statement[],
  { for: operations, forbidden, forbids = [] }: Case,
): Promise<string[]> {
  const updates = forbids.flatMap((operation) => recorded[operation] ?? []).filter(({ attributes }) => attributes);
  const needed = operations.flatMap((operation) => recorded[operation] ?? []);
  const tell = (asked: Asked) =>
    `${asked.what}: ${asked.action} on ${asked.table} [${asked.keys.join(', ')}] ${asked.attributes ?? ''}`;
  const faults: string[] = [];
  for (const asked of distinct(needed)) {
    if (!(await isAllowed(statements, asked))) faults.push(`denied: ${tell(asked)}`);
  }
  for (const asked of [...forbidden, ...updates])
    if (await isAllowed(statements, asked)) faults.push(`allowed: ${tell(asked)}`);
  return faults;
}

const distinct = (asked: readonly Asked[]): Asked[] => [
  ...new Map(asked.map((one) => [JSON.stringify([one.action, one.table, one.keys, one.attributes]), one])).values(),
];

/** Every policy that differs from this policy in one part: an action, a condition, a key of a condition, or the table. */
function weakened(statements: readonly Statement[]): [string, Statement[]][] {
  return statements.flatMap((statement, index) => {
    const as = (what: string, changed: Statement | undefined): [string, Statement[]] => [
      what,
      [...statements.slice(0, index), ...(changed ? [changed] : []), ...statements.slice(index + 1)],
    ];
    const actions = [statement.Action].flat();
    const conditions = Object.entries(statement.Condition ?? {});
    const withConditions = (entries: [string, Record<string, string | string[]>][]): Statement => {
      const { Condition: _, ...rest } = statement;
      return entries.length > 0 ? { ...rest, Condition: Object.fromEntries(entries) } : rest;
    };
    return [
      ...actions.map((action) => {
        const others = actions.filter((other) => other !== action);
        return as(`without ${action}`, others.length > 0 ? { ...statement, Action: others } : undefined);
      }),
      as('for every table', { ...statement, Resource: '*' }),
      ...conditions.map(([operator]) =>
        as(`without ${operator}`, withConditions(conditions.filter(([other]) => other !== operator))),
      ),
      ...conditions.flatMap(([operator, tested]) =>
        Object.entries(tested).flatMap(([key, values]) =>
          [values].flat().length < 2
            ? []
            : [values]
                .flat()
                .map((value) =>
                  as(
                    `without ${value} in ${operator}`,
                    withConditions(
                      conditions.map((entry) =>
                        entry[0] === operator
                          ? [operator, { ...tested, [key]: [values].flat().filter((other) => other !== value) }]
                          : entry,
                      ),
                    ),
                  ),
                ),
        ),
      ),
    ];
  });
}

test('the recorded operations call every method of the store', () => {
  expect([...called].sort()).toEqual([...storeMethods].sort());
});

test('every recorded operation sent a request, and is put to some grant', () => {
  const asked = new Set(Object.values(CASES).flatMap(({ for: operations }) => operations));
  expect(Object.keys(recorded).sort()).toEqual([...asked].sort());
});

test('the recorded runs of tasks read in batches, and leave marks whose keys begin as the keys of the tasks do', () => {
  const asked = recorded['run tasks'] ?? [];
  expect(asked.filter(({ action, keys }) => action === 'BatchGetItem' && keys.length > 1).length).toBeGreaterThan(0);
  const marks = asked.flatMap(({ action, keys }) =>
    action === 'UpdateItem' && !TASKS.includes(`${keys}`) ? keys : [],
  );
  expect(marks.length).toBeGreaterThan(0);
  for (const mark of marks) expect(TASKS.some((task) => mark.startsWith(task))).toBe(true);
});

describe.each(Object.entries(CASES))('%s', (_, grantCase) => {
  test('the grant allows every request that its operations send, and no forbidden request', async () => {
    expect(await faultsOf(synthesised(grantCase.grant), grantCase)).toEqual([]);
  });

  test('the grant allows no less and no more in any single part', async () => {
    const variants = weakened(synthesised(grantCase.grant));
    expect(variants.length).toBeGreaterThan(1);
    const unproven: string[] = [];
    for (const [what, statements] of variants) {
      if ((await faultsOf(statements, grantCase)).length === 0) unproven.push(what);
    }
    expect(unproven).toEqual([]);
  });
});

test('a condition on any key in the place of all keys would let mixed prefixes pass, and is caught', async () => {
  const fleet = CASES['grants.lock with fleet'] as Case;
  const anyKey = JSON.stringify(synthesised(fleet.grant)).replace('ForAllValues', 'ForAnyValue');
  expect(await faultsOf(JSON.parse(anyKey), fleet)).toContain(
    'allowed: mixed prefixes: BatchGetItem on locks [jobs/1, reports/1] ',
  );
});
