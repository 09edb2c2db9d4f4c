import { runSimulation } from '@cloud-copilot/iam-simulate';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Template } from 'aws-cdk-lib/assertions';
import type { IRole } from 'aws-cdk-lib/aws-iam';
import { LockBucket } from '../../lib/cdk/index.ts';
import { LockBusyError, LockClient } from '../../lib/index.ts';
import { S3LockStore } from '../../lib/s3.ts';
import { clientOf } from '../s3/questions.ts';
import { S3Server } from '../s3/server.ts';
import { newStack, roleIn } from './stacks.ts';

const ACCOUNT = '111111111111';
const BUCKET = 'our-locks';
const arn = `arn:aws:s3:::${BUCKET}`;

/** A question to IAM about one request. */
interface Asked {
  /** The origin of the question, for people to read. */
  readonly what: string;
  readonly action: string;
  readonly resource: string;
  readonly context?: Readonly<Record<string, string>>;
}
interface Statement {
  readonly Effect: string;
  readonly Action: string | string[];
  readonly Resource: string | string[];
  readonly Condition?: Record<string, Record<string, string>>;
}
/** The policies that judge a request: the role's, and the bucket's. */
interface Policies {
  readonly role: readonly Statement[];
  readonly bucket: readonly Statement[];
}

async function isAllowed({ role, bucket }: Policies, { action, resource, context = {} }: Asked): Promise<boolean> {
  const policy = (Statement: readonly Statement[]) => ({ Version: '2012-10-17', Statement });
  const all = policy([{ Effect: 'Allow', Action: '*', Resource: '*' }]);
  const answer = await runSimulation(
    {
      request: {
        principal: `arn:aws:iam::${ACCOUNT}:role/holder`,
        action: `s3:${action}`,
        resource: { resource, accountId: ACCOUNT },
        contextVariables: { 'aws:SecureTransport': 'true', ...context },
      },
      identityPolicies: role.length > 0 ? [{ name: 'grants', policy: policy(role) }] : [],
      resourcePolicy: policy(bucket),
      serviceControlPolicies: [{ orgIdentifier: 'root', policies: [{ name: 'all', policy: all }] }],
      resourceControlPolicies: [],
    },
    {},
  );
  if (answer.resultType === 'error') throw new Error(JSON.stringify(answer.errors));
  return answer.overallResult === 'Allowed';
}

/** The policies after a grant, as in the template, with the bucket's ARN in its place. */
function synthesised(grant: (bucket: LockBucket, role: IRole) => unknown): Policies {
  const stack = newStack();
  const role = roleIn(stack);
  const bucket = new LockBucket(stack, 'Locks');
  grant(bucket, role);
  const template = Template.fromStack(stack);
  const statementsIn = (type: string): Statement[] => {
    const [policy] = Object.values(template.findResources(type));
    const joined = JSON.stringify(policy?.Properties.PolicyDocument.Statement ?? [], (_, value) =>
      value?.['Fn::Join']
        ? value['Fn::Join'][1].map((part: unknown) => (typeof part === 'string' ? part : arn)).join('')
        : value,
    );
    return JSON.parse(joined.replaceAll(JSON.stringify(stack.resolve(bucket.bucketArn)), `"${arn}"`));
  };
  return { role: statementsIn('AWS::IAM::Policy'), bucket: statementsIn('AWS::S3::BucketPolicy') };
}

const LIST: Asked = { what: 'a list, and a 404 in the place of a 403', action: 'ListBucket', resource: arn };
const GET: Asked = { what: 'a read', action: 'GetObject', resource: `${arn}/locks/jobs/1` };
const PUT: Asked = {
  what: 'a write over a version',
  action: 'PutObject',
  resource: `${arn}/locks/jobs/1`,
  context: { 's3:if-match': 'd41d8cd9' },
};
const FORBIDDEN: Asked[] = [
  { ...PUT, what: 'a write without a condition', context: {} },
  { what: 'a deletion', action: 'DeleteObject', resource: `${arn}/locks/jobs/1` },
  { what: 'a deletion of a version', action: 'DeleteObjectVersion', resource: `${arn}/locks/jobs/1` },
  ...['jobs', 'reports/1', 'nightly-2', 'Jobs/1'].map((name) => ({ ...PUT, resource: `${arn}/locks/${name}` })),
  ...['jobs/1', 'locks'].map((name) => ({ ...PUT, what: 'a name outside of locks/', resource: `${arn}/${name}` })),
  ...[GET, PUT].map((asked) => ({ ...asked, what: 'another bucket', resource: 'arn:aws:s3:::others/locks/jobs/1' })),
  { ...LIST, what: 'another bucket', resource: 'arn:aws:s3:::others' },
  ...['PutBucketPolicy', 'PutLifecycleConfiguration', 'PutBucketVersioning', 'DeleteBucket'].map((action) => ({
    what: 'the bucket itself',
    action,
    resource: arn,
  })),
  { ...GET, what: 'plain HTTP', context: { 'aws:SecureTransport': 'false' } },
];
const OTHER_READS: Asked[] = ['reports/1', 'nightly-2'].map((name) => ({ ...GET, resource: `${arn}/locks/${name}` }));

const OTHER_SLOTS: Asked[] = ['partner%233', 'partner%231%231', 'partners', 'shards/%c3%a9%23100', 'shards/1'].flatMap(
  (name) => [GET, PUT].map((asked) => ({ ...asked, what: 'another slot', resource: `${arn}/locks/${name}` })),
);

const locks = { keyPrefixes: ['jobs/'], keys: ['nightly'] };
interface Case {
  readonly grant: (bucket: LockBucket, role: IRole) => unknown;
  /** The recorded operations that the grant is for. */
  readonly for: readonly string[];
  readonly forbidden: readonly Asked[];
}
const CASES: Record<string, Case> = {
  'grants.lock': {
    grant: (bucket, role) => bucket.grants.lock(role, locks),
    for: ['hold', 'busy', 'hand off', 'inspect', 'operate'],
    forbidden: [...FORBIDDEN, ...OTHER_READS],
  },
  'grants.lock with permits': {
    grant: (bucket, role) => bucket.grants.lock(role, { permits: { partner: 3, 'shards/é': 12 } }),
    for: ['take slots'],
    forbidden: [...FORBIDDEN, ...OTHER_READS, ...OTHER_SLOTS, PUT, GET],
  },
  'grants.inspect': {
    grant: (bucket, role) => bucket.grants.inspect(role, locks),
    for: ['inspect', 'busy'],
    forbidden: [...FORBIDDEN, ...OTHER_READS, PUT],
  },
  'grants.list': {
    grant: (bucket, role) => bucket.grants.list(role),
    for: ['list', 'inspect'],
    forbidden: [...FORBIDDEN, PUT, { ...GET, resource: `${arn}/jobs/1` }],
  },
};

let server: S3Server;
let recorded: Record<string, Asked[]>;
beforeAll(async () => {
  server = await S3Server.start();
  server.makeBucket(BUCKET);
  recorded = await recordEveryOperation();
});
afterAll(() => server.stop());

/** Runs the public operations, and records the requests that went over the wire. */
async function recordEveryOperation(): Promise<Record<string, Asked[]>> {
  const client = clientOf({ endpoint: server.endpoint, bucket: BUCKET });
  const operations: Record<string, Asked[]> = {};
  let what = '';
  client.middlewareStack.add(
    (next, { commandName = '' }) =>
      (args) => {
        const { path, headers } = args.request as { path: string; headers: Record<string, string> };
        const name = decodeURIComponent(path).replace(`/${BUCKET}`, '').replace(/^\/$/, '');
        const action = commandName.replace(/(V2)?Command$/, '').replace('ListObjects', 'ListBucket');
        const context = Object.fromEntries(
          ['if-match', 'if-none-match'].flatMap((header) =>
            headers[header] ? [[`s3:${header}`, headers[header]]] : [],
          ),
        );
        // Without ListBucket, S3 answers 403 to a read of a name that is free.
        const also = action === 'GetObject' ? [{ ...LIST, what }] : [];
        operations[what] = [...(operations[what] ?? []), { what, action, resource: arn + name, context }, ...also];
        return next(args);
      },
    { step: 'finalizeRequest', name: 'record' },
  );
  const store = new S3LockStore({ bucket: BUCKET, client });
  const other = new S3LockStore({ bucket: BUCKET, client });
  // No heartbeat is sent in the middle of another operation.
  const [one, two] = [store, other].map((on) => new LockClient({ store: on, leaseMs: 300_000 })) as [
    LockClient,
    LockClient,
  ];
  what = 'hold';
  const lease = await one.acquire('jobs/1', { once: '2026-01-01' });
  await lease.renew();
  await lease.commit('a');
  what = 'busy';
  await two.acquire('jobs/1').catch(expectBusy);
  what = 'hand off';
  const resumed = await two.resume(await lease.handOff({ leaseMs: 10_000 }));
  await resumed.release({ done: true });
  const night = await one.acquire('nightly');
  what = 'inspect';
  await two.inspectMany(['jobs/1', 'jobs/2', 'nightly']);
  what = 'list';
  for await (const _ of two.list({ prefix: 'jobs/' }));
  what = 'take slots';
  for (const [key, permits] of [
    ['partner', 3],
    ['shards/é', 12],
  ] as const) {
    const slots = await Promise.all(
      Array.from({ length: permits }, () => one.acquire(key, { permits, waitMs: 10_000 })),
    );
    await two.acquire(key, { permits, waitMs: 100 }).catch(expectBusy);
    for (const slot of slots) await slot.release();
  }
  what = 'operate';
  await two.forceRelease('nightly', { lockId: night.lockId, immediately: true });
  await two.resetOnce('jobs/1');
  const seen = await two.inspect('nightly');
  await two.repair('nightly', { seen });
  await Promise.all([one, two].map((locks) => locks.close({ graceMs: 0 })));
  client.destroy();
  return operations;
}

function expectBusy(error: unknown): void {
  if (!(error instanceof LockBusyError)) throw error;
}

/** The faults of policies: requests of operations that they wrongly deny, and requests that they wrongly allow. */
async function faultsOf(policies: Policies, { for: operations, forbidden }: Case): Promise<string[]> {
  const needed = operations.flatMap((operation) => recorded[operation] ?? []);
  const tell = ({ what, action, resource }: Asked) => `${what}: ${action} on ${resource}`;
  const distinct = new Map(needed.map((asked) => [JSON.stringify({ ...asked, what: '' }), asked])).values();
  const faults: string[] = [];
  for (const asked of distinct) if (!(await isAllowed(policies, asked))) faults.push(`denied: ${tell(asked)}`);
  for (const asked of forbidden) if (await isAllowed(policies, asked)) faults.push(`allowed: ${tell(asked)}`);
  return faults;
}

/** Every set of policies that differs in one part: an action or a resource of the role, or a denial of the bucket. */
function weakened({ role, bucket }: Policies): [string, Policies][] {
  return role.flatMap((statement, index): [string, Policies][] => {
    const as = (what: string, changed: object): [string, Policies] => [
      what,
      { role: role.map((other, i) => (i === index ? { ...statement, ...changed } : other)), bucket },
    ];
    const without = (name: 'Action' | 'Resource') => {
      const all = [statement[name]].flat();
      return all.map((one) => {
        const others = all.filter((other) => other !== one);
        return as(`without ${one}`, {
          [name]: others.length > 0 ? others : ['s3:GetBucketAcl', 'arn:aws:s3:::none'][+(name === 'Resource')],
        });
      });
    };
    return [...without('Action'), ...without('Resource'), as('for everything', { Resource: '*' })];
  });
}

test('every recorded operation sent a request, and is put to some grant', () => {
  const asked = new Set(Object.values(CASES).flatMap(({ for: operations }) => operations));
  expect(Object.keys(recorded).sort()).toEqual([...asked].sort());
});

describe.each(Object.entries(CASES))('%s', (_, grantCase) => {
  test('the grant allows every request that its operations send, and no forbidden request', async () => {
    expect(await faultsOf(synthesised(grantCase.grant), grantCase)).toEqual([]);
  });

  test('the grant allows no less and no more in any single part', async () => {
    const variants = weakened(synthesised(grantCase.grant));
    expect(variants.length).toBeGreaterThan(4);
    const unproven: string[] = [];
    for (const [what, policies] of variants) {
      if ((await faultsOf(policies, grantCase)).length === 0) unproven.push(what);
    }
    expect(unproven).toEqual([]);
  });
});

test("the bucket's policy stops everybody, with any permission, from a write without a condition and from a deletion", async () => {
  const { bucket } = synthesised(() => {});
  const admin = { role: [{ Effect: 'Allow', Action: 's3:*', Resource: '*' }], bucket };
  const allowed = await Promise.all([PUT, GET, ...FORBIDDEN.slice(0, 3)].map((asked) => isAllowed(admin, asked)));
  expect(allowed).toEqual([true, true, false, false, false]);
  const open = await Promise.all(
    FORBIDDEN.slice(0, 3).map((asked) => isAllowed({ ...admin, bucket: bucket.slice(0, 1) }, asked)),
  );
  expect(open).toEqual([true, true, true]);
});
