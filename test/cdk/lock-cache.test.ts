import { runSimulation } from '@cloud-copilot/iam-simulate';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { App, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import { AwsSolutionsChecks } from 'cdk-nag';
import { LockCache, type LockCacheProps } from '../../lib/cdk/index.ts';
import { REDIS_ACCESS } from '../../lib/names.ts';
import { app, ENV, functionIn, newStack, roleIn, statementsOf } from './stacks.ts';

function cacheIn(stack: Stack, props: Partial<LockCacheProps> = {}) {
  const vpc = new ec2.Vpc(stack, 'Vpc');
  return { vpc, cache: new LockCache(stack, 'Locks', { vpc, ...props }) };
}

/** The properties of the one resource of a type. */
function propertiesOf(stack: Stack, type: string): Record<string, unknown> {
  const resources = Object.values(Template.fromStack(stack).findResources(`AWS::${type}`));
  expect(resources).toHaveLength(1);
  return resources[0]?.Properties;
}

describe('LockCache', () => {
  test('a lock cache writes synchronously to two zones, takes TLS alone, and is encrypted', () => {
    const stack = newStack();
    cacheIn(stack);
    const { UserGroupIds, CacheParameterGroupName, CacheSubnetGroupName, SecurityGroupIds, ...properties } =
      propertiesOf(stack, 'ElastiCache::ReplicationGroup');
    expect(properties).toEqual({
      ReplicationGroupDescription: 'The locks of Stack/Locks',
      Engine: 'valkey',
      EngineVersion: '9.0',
      Durability: 'sync',
      CacheNodeType: 'cache.m6g.large',
      ClusterMode: 'enabled',
      NumNodeGroups: 1,
      ReplicasPerNodeGroup: 1,
      AutomaticFailoverEnabled: true,
      MultiAZEnabled: true,
      TransitEncryptionEnabled: true,
      TransitEncryptionMode: 'required',
      AtRestEncryptionEnabled: true,
      SnapshotRetentionLimit: 0,
      Port: 6379,
    });
    for (const ids of [UserGroupIds, SecurityGroupIds]) expect(ids).toHaveLength(1);
    for (const name of [CacheParameterGroupName, CacheSubnetGroupName])
      expect(name).toEqual({ Ref: expect.any(String) });
  });

  test('a lock cache evicts no record', () => {
    const stack = newStack();
    cacheIn(stack);
    expect(propertiesOf(stack, 'ElastiCache::ParameterGroup')).toMatchObject({
      CacheParameterGroupFamily: 'valkey9',
      Properties: { 'cluster-enabled': 'yes', 'maxmemory-policy': 'noeviction' },
    });
  });

  test('a lock cache has one user, who comes by IAM and has the rights of a lock', () => {
    const stack = newStack();
    cacheIn(stack);
    const user = propertiesOf(stack, 'ElastiCache::User');
    expect(user).toEqual({
      Engine: 'valkey',
      UserId: expect.stringMatching(/^[a-z][a-z0-9]{0,39}$/),
      UserName: user.UserId,
      AccessString: `on -@all ${REDIS_ACCESS}`,
      AuthenticationMode: { Type: 'iam' },
    });
    const [id] = Object.keys(Template.fromStack(stack).findResources('AWS::ElastiCache::User'));
    expect(propertiesOf(stack, 'ElastiCache::UserGroup')).toMatchObject({ Engine: 'valkey', UserIds: [{ Ref: id }] });
  });

  test('the users of two caches of an account have different names', () => {
    const named = (stackId: string, id: string) => {
      const stack = newStack(stackId);
      new LockCache(stack, id, { vpc: new ec2.Vpc(stack, 'Vpc') });
      return propertiesOf(stack, 'ElastiCache::User').UserId;
    };
    const ids = [named('Dev', 'Locks'), named('Prod', 'Locks'), named('Prod', 'Other')];
    expect(new Set(ids).size).toBe(3);
  });

  test('a lock cache stays, with all that the cache needs, unless its first deployment fails', () => {
    const stack = newStack();
    cacheIn(stack);
    const policies = (of: Stack) =>
      Object.entries<{ Type: string; DeletionPolicy?: string }>(Template.fromStack(of).toJSON().Resources)
        .filter(([id]) => id.startsWith('Locks'))
        .map(([, { Type, DeletionPolicy }]) => [Type, DeletionPolicy]);
    expect(policies(stack)).toHaveLength(6);
    for (const [, policy] of policies(stack)) expect(policy).toBe('RetainExceptOnCreate');
    const other = newStack();
    cacheIn(other, { removalPolicy: RemovalPolicy.DESTROY });
    for (const [, policy] of policies(other)) expect(policy).toBe('Delete');
  });

  test('a lock cache stands in the isolated subnets, or else in the private subnets, or where the app says', () => {
    const subnetsOf = (props: ec2.VpcProps, vpcSubnets?: ec2.SubnetSelection) => {
      const stack = newStack();
      const vpc = new ec2.Vpc(stack, 'Vpc', props);
      new LockCache(stack, 'Locks', { vpc, ...(vpcSubnets && { vpcSubnets }) });
      const ids = propertiesOf(stack, 'ElastiCache::SubnetGroup').SubnetIds as { Ref: string }[];
      return ids.map(({ Ref }) => Ref.replace(/^Vpc(.*?)Subnet\d.*/, '$1'));
    };
    const subnets = (...types: ec2.SubnetType[]) => ({
      subnetConfiguration: types.map((subnetType) => ({ name: subnetType, subnetType })),
    });
    const { PUBLIC, PRIVATE_WITH_EGRESS, PRIVATE_ISOLATED } = ec2.SubnetType;
    expect(subnetsOf(subnets(PUBLIC, PRIVATE_WITH_EGRESS, PRIVATE_ISOLATED))).toEqual(['Isolated', 'Isolated']);
    expect(subnetsOf({})).toEqual(['Private', 'Private']);
    const all = subnets(PUBLIC, PRIVATE_WITH_EGRESS, PRIVATE_ISOLATED);
    expect(subnetsOf(all, { subnetType: PRIVATE_WITH_EGRESS })).toEqual(['Private', 'Private']);
  });

  const publicOnly = { subnetConfiguration: [{ name: 'public', subnetType: ec2.SubnetType.PUBLIC }] };
  test.each<[string, (stack: Stack) => Record<string, unknown>, string]>([
    ['no network', () => ({ vpc: undefined }), 'vpc must be a Vpc, but it is undefined.'],
    ['the id of a network', () => ({ vpc: 'vpc-1' }), "vpc must be a Vpc, but it is 'vpc-1'."],
    [
      'a network without private subnets',
      (stack) => ({ vpc: new ec2.Vpc(stack, 'Public', publicOnly) }),
      'vpcSubnets must be private or isolated, in two zones or more, but in Stack/Public there are 0, in 0 of the zones.',
    ],
    [
      'a network in one zone',
      (stack) => ({ vpc: new ec2.Vpc(stack, 'Small', { maxAzs: 1 }) }),
      'vpcSubnets must be private or isolated, in two zones or more, but in Stack/Small there are 1, in 1 of the zones.',
    ],
    [
      'public subnets',
      () => ({ vpcSubnets: { subnetType: ec2.SubnetType.PUBLIC } }),
      'vpcSubnets must be private or isolated, in two zones or more, but in Stack/Vpc some are public.',
    ],
    ...['cache.t4g.micro', 'cache.m5.large', 'cache.r6gd.xlarge', 'cache.c6gn.large', 'm7g.large', ''].map(
      (nodeType): [string, () => Record<string, unknown>, string] => [
        `the node type '${nodeType}'`,
        () => ({ nodeType }),
        `nodeType must be of a family with synchronous writes (M6g, R6g, C7gn or later), such as 'cache.m6g.large', but it is '${nodeType}'.`,
      ],
    ),
    ['a misspelled prop', () => ({ nodetype: 'cache.m7g.large' }), "no option 'nodetype'; did you mean 'nodeType'?"],
  ])('a lock cache refuses %s', (_, props, message) => {
    const make = () => {
      const stack = newStack();
      cacheIn(stack, props(stack) as Partial<LockCacheProps>);
    };
    expect(make).toThrow(TypeError);
    expect(make).toThrow(/^\[Stack\/Locks\] /);
    expect(make).toThrow(message);
  });

  test.each(['cache.r7g.large', 'cache.m7g.12xlarge', 'cache.c7gn.xlarge', 'cache.m8g.large'])(
    'a lock cache takes %s',
    (nodeType) => {
      const stack = newStack();
      cacheIn(stack, { nodeType });
      expect(propertiesOf(stack, 'ElastiCache::ReplicationGroup').CacheNodeType).toBe(nodeType);
    },
  );

  describe('the checks of an app', () => {
    const { CDK_VALIDATION } = process.env;
    beforeAll(() => {
      // With this variable set to false the CDK checks nothing.
      delete process.env.CDK_VALIDATION;
    });
    afterAll(() => {
      if (CDK_VALIDATION !== undefined) process.env.CDK_VALIDATION = CDK_VALIDATION;
    });

    test('neither cdk-nag nor the template validator finds anything in a lock cache', () => {
      const theApp = new App({
        context: { '@aws-cdk/core:validateAgainstDefaultRules': true },
        analyticsReporting: false,
      });
      const stack = new Stack(theApp, 'Stack', { env: ENV });
      // The network is the app's own matter.
      const vpc = ec2.Vpc.fromVpcAttributes(stack, 'Vpc', {
        vpcId: 'vpc-0123456789abcdef0',
        availabilityZones: ['us-east-1a', 'us-east-1b'],
        isolatedSubnetIds: ['subnet-0123456789abcdef0', 'subnet-0123456789abcdef1'],
      });
      const cache = new LockCache(stack, 'Locks', { vpc });
      cache.grantConnect(roleIn(stack));
      cache.connections.allowDefaultPortFrom(ec2.Peer.ipv4('10.0.0.0/16'));
      Validations.of(theApp).addPlugins(new AwsSolutionsChecks(theApp));
      expect(() => theApp.synth()).not.toThrow();
    });
  });
});

describe('LockCache.attach', () => {
  const attached = () => {
    const stack = newStack('Stack', ENV);
    const { vpc, cache } = cacheIn(stack);
    const fn = functionIn(stack, 'Worker', {}, { vpc });
    return { stack, vpc, cache, fn };
  };

  test('attach() tells the function the endpoint, the user and the cache, and nothing secret', () => {
    const { stack, cache, fn } = attached();
    cache.attach(fn);
    const [cacheId] = Object.keys(Template.fromStack(stack).findResources('AWS::ElastiCache::ReplicationGroup'));
    const [userId] = Object.keys(Template.fromStack(stack).findResources('AWS::ElastiCache::User'));
    expect(propertiesOf(stack, 'Lambda::Function').Environment).toEqual({
      Variables: {
        LOCK_REDIS_ENDPOINT: {
          'Fn::Join': ['', [{ 'Fn::GetAtt': [cacheId, 'ConfigurationEndPoint.Address'] }, ':6379']],
        },
        LOCK_REDIS_USER: { Ref: userId },
        LOCK_REDIS_CACHE: { Ref: cacheId },
      },
    });
  });

  test('attach() opens the port of the cache to the function, and to nobody else', () => {
    const { stack, cache, fn } = attached();
    cache.attach(fn);
    const template = Template.fromStack(stack);
    template.resourceCountIs('AWS::EC2::SecurityGroupIngress', 1);
    template.hasResourceProperties('AWS::EC2::SecurityGroupIngress', {
      FromPort: 6379,
      ToPort: 6379,
      GroupId: { 'Fn::GetAtt': [Match.stringLikeRegexp('^LocksSecurityGroup'), 'GroupId'] },
      SourceSecurityGroupId: { 'Fn::GetAtt': [Match.stringLikeRegexp('^WorkerSecurityGroup'), 'GroupId'] },
    });
  });

  test('attach() lets the function connect as the user of the cache, and to no other cache, as no other user, and do nothing else', async () => {
    const { stack, cache, fn } = attached();
    expect(cache.attach(fn).success).toBe(true);
    const arn = (kind: string, id: string) => `arn:aws:elasticache:${ENV.region}:${ENV.account}:${kind}:${id}`;
    const [cacheId] = Object.keys(Template.fromStack(stack).findResources('AWS::ElastiCache::ReplicationGroup'));
    const [userId] = Object.keys(Template.fromStack(stack).findResources('AWS::ElastiCache::User'));
    // CloudFormation would put the names here.
    const statements = JSON.stringify(statementsOf(stack).filter(({ Action }) => /elasticache/.test(String(Action))))
      .replaceAll(JSON.stringify({ 'Fn::GetAtt': [userId, 'Arn'] }), JSON.stringify(arn('user', 'me')))
      .replace(
        /\{"Fn::Join":\["",\["arn:",\{"Ref":"AWS::Partition"\},"([^"]*)",\{"Ref":"Locks[^"]*"\}\]\]\}/,
        '"arn:aws$1locks"',
      );
    expect(statements).not.toContain('Fn::');
    expect(cacheId).toMatch(/^Locks/);
    const isAllowed = async (action: string, resource: string) => {
      const answer = await runSimulation(
        {
          request: {
            principal: `arn:aws:iam::${ENV.account}:role/worker`,
            action,
            resource: { resource, accountId: ENV.account },
            contextVariables: {},
          },
          identityPolicies: [{ name: 'attach', policy: { Version: '2012-10-17', Statement: JSON.parse(statements) } }],
          serviceControlPolicies: [],
          resourceControlPolicies: [],
        },
        {},
      );
      if (answer.resultType === 'error') throw new Error(JSON.stringify(answer.errors));
      return answer.overallResult === 'Allowed';
    };
    const connect = 'elasticache:Connect';
    expect(await isAllowed(connect, arn('replicationgroup', 'locks'))).toBe(true);
    expect(await isAllowed(connect, arn('user', 'me'))).toBe(true);
    expect(await isAllowed(connect, arn('replicationgroup', 'sessions'))).toBe(false);
    expect(await isAllowed(connect, arn('user', 'admin'))).toBe(false);
    expect(await isAllowed('elasticache:ModifyUser', arn('user', 'me'))).toBe(false);
    expect(await isAllowed('elasticache:DeleteReplicationGroup', arn('replicationgroup', 'locks'))).toBe(false);
  });

  test('attach() of an alias attaches the function behind it, and can be called again', () => {
    const { stack, cache, fn } = attached();
    cache.attach(fn.addAlias('live'));
    cache.attach(fn);
    Template.fromStack(stack).resourceCountIs('AWS::EC2::SecurityGroupIngress', 1);
  });

  test('attach() refuses a function outside of a network, and leaves the function as it was', () => {
    const { stack, cache } = attached();
    const outside = functionIn(stack, 'Outside');
    expect(() => cache.attach(outside)).toThrow(
      '[Stack/Locks] attach() must be given a function in a VPC, but Stack/Outside is in none; give it vpc.',
    );
    Template.fromStack(stack).resourceCountIs('AWS::EC2::SecurityGroupIngress', 0);
  });

  test('attach() refuses a function of another cache, also if the variable is set afterwards', () => {
    const { stack, vpc, cache, fn } = attached();
    cache.attach(fn);
    const other = new LockCache(stack, 'Other', { vpc });
    expect(() => other.attach(fn)).toThrow(
      /\[Stack\/Other\] attach\(\) must set LOCK_REDIS_ENDPOINT of Stack\/Worker alone, but it is \{.*\} already; for a second cache use grantConnect\(\), connections and environment\./,
    );
    fn.addEnvironment('LOCK_REDIS_USER', 'admin');
    expect(() => Template.fromStack(stack)).toThrow(/LOCK_REDIS_USER of Stack\/Worker alone, but it is "admin"/);
  });

  test.each<[string, (stack: Stack) => unknown, string]>([
    ['undefined', () => undefined, 'but it is undefined; pass a Function.'],
    ['a role', (stack) => roleIn(stack), 'but it is Stack/Role; pass a Function.'],
    ['a version', (stack) => functionIn(stack).currentVersion, 'whose environment is fixed; pass a Function.'],
  ])('attach() refuses %s, and says what to do', (_, make, message) => {
    const stack = newStack();
    const { cache } = cacheIn(stack);
    const given = make(stack) as lambda.Function;
    const attach = () => cache.attach(given);
    expect(attach).toThrow(TypeError);
    expect(attach).toThrow(message);
    expect(attach).toThrow('For anything else use grantConnect(), connections and environment.');
  });

  test('grantConnect() refuses everybody', () => {
    const { cache } = attached();
    expect(() => cache.grantConnect(undefined as never)).toThrow('[Stack/Locks] the grantee must be a role, a user or');
  });
});

test('a lock cache is attached to a function of another stack', () => {
  const tree = app();
  const far = new Stack(tree, 'Cache', { env: ENV });
  const { vpc, cache } = cacheIn(far);
  const stack = new Stack(tree, 'Jobs', { env: ENV });
  cache.attach(functionIn(stack, 'Worker', {}, { vpc }));
  expect(Template.fromStack(stack).findResources('AWS::EC2::SecurityGroupIngress')).not.toEqual({});
  expect(stack.dependencies).toContain(far);
});
