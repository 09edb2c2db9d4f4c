import { describe, expect, test } from '@jest/globals';
import { Duration, Stack, Validations } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { AccountPrincipal } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { AwsSolutionsChecks } from 'cdk-nag';
import { LockBucket, type LockBucketProps } from '../../lib/cdk/index.ts';
import { app, ENV, functionIn, newStack, roleIn, statementsOf } from './stacks.ts';

const bucketIn = (stack: Stack, props: LockBucketProps = {}) => new LockBucket(stack, 'Locks', props);
const withoutNames = (template: Template) =>
  JSON.parse(JSON.stringify(template.toJSON()).replaceAll(/Locks[0-9A-Z]\w+/g, 'Locks'));

describe('LockBucket', () => {
  test('the template of a lock bucket has not changed', () => {
    const stack = newStack();
    bucketIn(stack);
    expect(withoutNames(Template.fromStack(stack))).toMatchSnapshot();
  });

  test('keeps no versions, is closed to the public, deletes what was not written for 32 days, and stays when its stack goes', () => {
    const stack = newStack();
    bucketIn(stack);
    Template.fromStack(stack).hasResource('AWS::S3::Bucket', {
      DeletionPolicy: 'Retain',
      Properties: {
        VersioningConfiguration: Match.absent(),
        PublicAccessBlockConfiguration: {
          BlockPublicAcls: true,
          BlockPublicPolicy: true,
          IgnorePublicAcls: true,
          RestrictPublicBuckets: true,
        },
        LifecycleConfiguration: {
          Rules: [
            {
              ExpirationInDays: 32,
              NoncurrentVersionExpiration: { NoncurrentDays: 1 },
              Prefix: 'locks/',
              Status: 'Enabled',
            },
          ],
        },
      },
    });
  });

  test.each([
    [Duration.days(25), 'Duration.days(25)'],
    [Duration.hours(26 * 24 + 1), 'Duration.hours(625)'],
    [Duration.days(40_000), 'Duration.days(40000)'],
    [30 as never, 'number 30: give a Duration, such as Duration.days(32)'],
  ])('refuses an expiration that a live lease may outlast, or that is none: %s', (expiration, shown) => {
    expect(() => bucketIn(newStack(), { expiration })).toThrow(
      new TypeError(
        `[Stack/Locks] expiration must be a whole number of days from 26 to 36500, since a lease may last for 25 days without a write, but it is ${shown}.`,
      ),
    );
  });

  test('takes an expiration of 26 days, a name, and a key of the customer, and refuses a misspelled prop', () => {
    const stack = newStack();
    const encryptionKey = new Key(stack, 'Key');
    const bucket = bucketIn(stack, { expiration: Duration.days(26), bucketName: 'our-locks', encryptionKey });
    bucket.grants.lock(roleIn(stack), { keys: ['nightly'] });
    Template.fromStack(stack).hasResourceProperties('AWS::S3::Bucket', {
      BucketName: 'our-locks',
      BucketEncryption: { ServerSideEncryptionConfiguration: [{ BucketKeyEnabled: true }] },
      LifecycleConfiguration: { Rules: [{ ExpirationInDays: 26 }] },
    });
    expect(statementsOf(stack)).toContainEqual(
      expect.objectContaining({
        Action: ['kms:Decrypt', 'kms:GenerateDataKey'],
        Condition: {
          StringEquals: { 'kms:ViaService': { 'Fn::Join': ['', ['s3.', { Ref: 'AWS::Region' }, '.amazonaws.com']] } },
        },
      }),
    );
    expect(() => bucketIn(newStack(), { expires: 1 } as never)).toThrow(
      "[Stack/Locks] LockBucket has no option 'expires'",
    );
  });

  test('is clean for cdk-nag, with a function that locks exact keys', () => {
    delete process.env.CDK_VALIDATION;
    const checked = app();
    const stack = new Stack(checked, 'Stack');
    bucketIn(stack).grants.lock(roleIn(stack), { keys: ['nightly'] });
    Validations.of(checked).addPlugins(new AwsSolutionsChecks(checked));
    expect(() => checked.synth()).not.toThrow();
  });
});

describe('LockBucket.attach', () => {
  test('tells the function its bucket, and grants', () => {
    const stack = newStack();
    const bucket = bucketIn(stack);
    const grant = bucket.attach(functionIn(stack), { keyPrefixes: ['jobs/'] });
    expect(grant.success).toBe(true);
    Template.fromStack(stack).hasResourceProperties('AWS::Lambda::Function', {
      Environment: { Variables: { LOCK_BUCKET_NAME: stack.resolve(bucket.bucketName) } },
    });
    expect(statementsOf(stack).map(({ Action }) => Action)).toEqual([
      's3:ListBucket',
      ['s3:GetObject', 's3:PutObject'],
    ]);
  });

  test('refuses a function with another bucket, in another Region, or of another app', () => {
    const stack = newStack('Stack', ENV);
    const bucket = bucketIn(stack);
    const other = functionIn(stack, 'Other', { LOCK_BUCKET_NAME: 'theirs' });
    expect(() => bucket.attach(other, { keys: ['a'] })).toThrow(
      '[Stack/Locks] attach() must set LOCK_BUCKET_NAME of Stack/Other alone, but it is "theirs" already; for a second bucket grant with grants.lock() and tell the store its name.',
    );
    const far = functionIn(new Stack(app(), 'Far', { env: { ...ENV, region: 'eu-west-1' } }));
    expect(() => bucket.attach(far, { keys: ['a'] })).toThrow(
      "a function in the bucket's region us-east-1, but Far/Worker is in eu-west-1",
    );
    expect(() => bucket.attach({ taskRole: 1, node: { path: 'Task' } } as never, { keys: ['a'] })).toThrow(
      'set the environment variable LOCK_BUCKET_NAME to lockBucket.bucketName',
    );
  });
});

describe('LockBucketGrants', () => {
  test('names objects as the store does, and parts what does not fit into one statement', () => {
    const stack = newStack();
    const keys = Array.from({ length: 100 }, (_, i) => `Job ${i}/${'x'.repeat(50)}`);
    bucketIn(stack).grants.lock(roleIn(stack), { keyPrefixes: ['jobs/'], keys });
    const statements = [
      ...statementsOf(stack),
      ...Object.values(Template.fromStack(stack).findResources('AWS::IAM::ManagedPolicy')).flatMap(
        ({ Properties }) => Properties.PolicyDocument.Statement,
      ),
    ];
    const text = JSON.stringify(statements);
    expect(text).toContain('/locks/jobs/*');
    for (const i of keys.keys()) expect(text).toContain(`/locks/%4aob%20${i}/xx`);
    expect(statements.length).toBeGreaterThan(3);
  });

  test('names the objects of all slots, by patterns if there are many, and one by one if a name is cut', () => {
    const names = (permits: Record<string, number>) => {
      const stack = newStack();
      bucketIn(stack).grants.lock(roleIn(stack), { permits });
      return [...JSON.stringify(statementsOf(stack)).matchAll(/\/(locks\/[^"]+)"/g)].map(([, name]) => name);
    };
    expect(names({ 'Partner 1': 3 })).toEqual([
      'locks/%50artner%201',
      'locks/%50artner%201%231',
      'locks/%50artner%201%232',
    ]);
    expect(names({ partner: 50 })).toEqual(['locks/partner', 'locks/partner%23?', 'locks/partner%23??']);
    const cut = names({ ['P'.repeat(500)]: 3 });
    expect(cut).toHaveLength(3);
    expect(cut.every((name) => /~[0-9a-f]{64}$/.test(name ?? ''))).toBe(true);
  });

  test('refuses no keys, wildcards and everybody, and warns of a prefix without a delimiter', () => {
    const stack = newStack();
    const { grants } = bucketIn(stack);
    const role = roleIn(stack);
    expect(() => grants.lock(role, {})).toThrow('a grant must name its locks by keyPrefixes, keys or permits');
    expect(() => grants.lock(role, { keys: ['a*'] })).toThrow("keys[0] must hold no wildcard (* or ?), but it is 'a*'");
    expect(() => grants.lock(role, { fleet: true } as never)).toThrow("has no option 'fleet'");
    grants.lock(role, { keyPrefixes: ['jobs'] });
    Annotations.fromStack(stack).hasWarning(
      '/Stack/Locks',
      Match.stringLikeRegexp("'jobs' also allows the locks of others"),
    );
  });

  test("grants to another account in the bucket's policy, too", () => {
    const stack = newStack('Stack', ENV);
    bucketIn(stack).grants.inspect(new AccountPrincipal('222222222222'), { keys: ['a'] });
    const [policy] = Object.values(Template.fromStack(stack).findResources('AWS::S3::BucketPolicy'));
    const allowed = policy?.Properties.PolicyDocument.Statement.filter(
      ({ Effect }: { Effect: string }) => Effect === 'Allow',
    );
    expect(allowed.map(({ Action }: { Action: string }) => Action)).toEqual(['s3:ListBucket', 's3:GetObject']);
  });
});
