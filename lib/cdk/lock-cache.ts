import { ArnFormat, CfnResource, Names, RemovalPolicy, Stack, Token } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as elasticache from 'aws-cdk-lib/aws-elasticache';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import { Construct } from 'constructs';
import { LOCK_REDIS_CACHE, LOCK_REDIS_ENDPOINT, LOCK_REDIS_USER, REDIS_ACCESS } from '../names.ts';
import { checkNames, show } from '../record/check.ts';
import { acknowledge } from './acknowledge.ts';
import { functionFault, functionOf, variableFault, warnOfRuntime } from './functions.ts';
import { checkGrantee } from './grantee.ts';
import { checkRemoval, invalid } from './invalid.ts';

/**
 * The props of a `LockCache`.
 * @example
 * ```ts
 * import type { IVpc } from 'aws-cdk-lib/aws-ec2';
 * import type { LockCacheProps } from 'leasehold/cdk';
 *
 * export const props = (vpc: IVpc): LockCacheProps => ({ vpc, nodeType: 'cache.r7g.large' });
 * ```
 */
export interface LockCacheProps {
  /** The network of the cache. */
  readonly vpc: ec2.IVpc;

  /**
   * The subnets of the two nodes: not public, and in two zones or more.
   *
   * @default - the isolated subnets, or else the private subnets
   */
  readonly vpcSubnets?: ec2.SubnetSelection;

  /**
   * The type of the nodes. Synchronous writes need the family M6g, R6g or C7gn, or a later one of these kinds. Locks need
   * little memory.
   *
   * @default 'cache.m6g.large'
   */
  readonly nodeType?: string;

  /**
   * The fate of the cache, its network, its parameters and its user when they leave the stack. With the cache go the fencing
   * tokens and the `once` tokens.
   *
   * @default RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE
   */
  readonly removalPolicy?: RemovalPolicy;
}

const PROPS = { vpc: 0, vpcSubnets: 0, nodeType: 0, removalPolicy: 0 } satisfies Record<keyof LockCacheProps, 0>;

const PORT = 6379;
/** The families that ElastiCache's page on the limits of durability names, and later ones. With a `d`, they tier data. */
const NODE_TYPE = /^cache\.([mr]([6-9]|\d\d)g|c([7-9]|\d\d)gn)\.\d*x?large$/;

/**
 * A place for the locks of a `RedisLockStore`: ElastiCache for Valkey with synchronous writes. A write is in two zones before
 * it is answered, so no failover loses a grant. The cache evicts nothing, takes TLS alone, and lets in one user, by IAM and
 * with the rights that leasehold needs: there is no password. Cluster mode is on, with one shard, so use a cluster client. The
 * cache has no snapshots: a restored cache would give out fencing tokens a second time.
 * @example
 * ```ts
 * import { App, Stack } from 'aws-cdk-lib';
 * import * as ec2 from 'aws-cdk-lib/aws-ec2';
 * import * as lambda from 'aws-cdk-lib/aws-lambda';
 * import { LockCache } from 'leasehold/cdk';
 *
 * const stack = new Stack(new App(), 'Jobs');
 * const vpc = new ec2.Vpc(stack, 'Vpc');
 * const worker = new lambda.Function(stack, 'Worker', {
 *   runtime: lambda.Runtime.NODEJS_22_X,
 *   handler: 'index.handler',
 *   code: lambda.Code.fromAsset('worker'),
 *   vpc,
 * });
 * new LockCache(stack, 'Locks', { vpc }).attach(worker);
 * ```
 */
export class LockCache extends Construct implements ec2.IConnectable {
  /** The replication group itself, for anything that `LockCache` does not offer, such as `kmsKeyId`. */
  readonly replicationGroup: elasticache.CfnReplicationGroup;
  /** The network of the cache. */
  readonly connections: ec2.Connections;
  /** The environment variables that a client needs: the endpoint, the user and the cache. Nothing in them is secret. */
  readonly environment: Readonly<Record<string, string>>;
  readonly #user: elasticache.CfnUser;

  /** @throws TypeError that shows the construct's path and the value, if a prop is unknown or invalid. */
  constructor(scope: Construct, id: string, props: LockCacheProps) {
    super(scope, id);
    checkNames(`[${this.node.path}] LockCache`, props, PROPS);
    const { vpc, nodeType = 'cache.m6g.large', removalPolicy = RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE } = props;
    checkNodeType(this, nodeType);
    checkRemoval(this, props.removalPolicy);
    const subnetIds = subnetsFor(this, props);
    // ElastiCache wants one text as the id and the name of a user that comes by IAM.
    const userId = Names.uniqueResourceName(this, { maxLength: 40 }).toLowerCase();
    this.#user = new elasticache.CfnUser(this, 'User', {
      engine: 'valkey',
      userId,
      userName: userId,
      accessString: `on -@all ${REDIS_ACCESS}`,
      authenticationMode: { Type: 'iam' },
    });
    const { ref: parameters } = new elasticache.CfnParameterGroup(this, 'Parameters', {
      cacheParameterGroupFamily: 'valkey9',
      description: 'Locks: no record is evicted.',
      properties: { 'cluster-enabled': 'yes', 'maxmemory-policy': 'noeviction' },
    });
    const { ref: subnets } = new elasticache.CfnSubnetGroup(this, 'Subnets', { description: 'Locks', subnetIds });
    // Valkey's groups need no user of the name `default`: nobody comes in without a name.
    const group = { engine: 'valkey', userGroupId: userId, userIds: [this.#user.ref] };
    const { ref: users } = new elasticache.CfnUserGroup(this, 'Users', group);
    const securityGroup = new ec2.SecurityGroup(this, 'SecurityGroup', { vpc, allowAllOutbound: false });
    this.replicationGroup = new elasticache.CfnReplicationGroup(this, 'Resource', {
      replicationGroupDescription: `The locks of ${this.node.path}`,
      engine: 'valkey',
      engineVersion: '9.0',
      cacheNodeType: nodeType,
      clusterMode: 'enabled',
      numNodeGroups: 1,
      replicasPerNodeGroup: 1,
      automaticFailoverEnabled: true,
      multiAzEnabled: true,
      transitEncryptionEnabled: true,
      transitEncryptionMode: 'required',
      atRestEncryptionEnabled: true,
      snapshotRetentionLimit: 0,
      port: PORT,
      cacheParameterGroupName: parameters,
      cacheSubnetGroupName: subnets,
      securityGroupIds: [securityGroup.securityGroupId],
      userGroupIds: [users],
    });
    // An older CDK does not know the property and would leave it out: a failover would lose grants.
    this.replicationGroup.addPropertyOverride('Durability', 'sync');
    acknowledge(this, {
      'AwsSolutions-AEC6': 'The user comes in by IAM, and not by a password that all clients share.',
    });
    // A cache that stays needs its network, its parameters and its user.
    for (const resource of this.node.findAll()) {
      if (resource instanceof CfnResource) resource.applyRemovalPolicy(removalPolicy);
    }
    this.connections = new ec2.Connections({ securityGroups: [securityGroup], defaultPort: ec2.Port.tcp(PORT) });
    this.environment = {
      [LOCK_REDIS_ENDPOINT]: `${this.replicationGroup.attrConfigurationEndPointAddress}:${PORT}`,
      [LOCK_REDIS_USER]: this.#user.ref,
      [LOCK_REDIS_CACHE]: this.replicationGroup.ref,
    };
  }

  /**
   * Makes the function a user of this cache: lets the function reach the cache and connect as the cache's user, and sets the
   * function's environment variables `LOCK_REDIS_ENDPOINT`, `LOCK_REDIS_USER` and `LOCK_REDIS_CACHE`. Of an alias, takes the
   * function.
   * @throws TypeError if the function is in no VPC, if a variable has another value already, or if this app does not set the
   *   function's environment.
   */
  attach(attached: lambda.Function | lambda.Alias): iam.Grant {
    const fn = functionOf(attached);
    const others = 'use grantConnect(), connections and environment';
    const kind = functionFault(fn);
    if (kind) {
      throw invalid(
        this,
        `attach() must be given a function of this app, but it is ${kind.found}; pass a Function. For anything else ${others}.`,
      );
    }
    warnOfRuntime(fn);
    if (!fn.isBoundToVpc) {
      throw invalid(this, `attach() must be given a function in a VPC, but ${fn.node.path} is in none; give it vpc.`);
    }
    const variables = Object.entries(this.environment);
    const faults = () =>
      variables.flatMap(([name, value]) => variableFault(fn, name, value, `for a second cache ${others}`));
    const [fault] = faults();
    if (fault) throw invalid(this, fault);
    const grant = this.grantConnect(fn);
    // From the function's side, whose stack refers to the cache's: the other way, each stack would need the other first.
    fn.connections.allowToDefaultPort(this, 'Locks');
    for (const [name, value] of variables) fn.addEnvironment(name, value);
    // A variable that is set after this call would replace the cache behind the grant.
    fn.node.addValidation({ validate: faults });
    return grant;
  }

  /** Allows to connect as the cache's user. The network is another matter: `connections.allowDefaultPortFrom(peer)`. */
  grantConnect(grantee: iam.IGrantable): iam.Grant {
    checkGrantee(this, grantee);
    const cache = Stack.of(this).formatArn({
      service: 'elasticache',
      resource: 'replicationgroup',
      resourceName: this.replicationGroup.ref,
      arnFormat: ArnFormat.COLON_RESOURCE_NAME,
    });
    const resourceArns = [cache, this.#user.attrArn];
    return iam.Grant.addToPrincipal({ grantee, actions: ['elasticache:Connect'], resourceArns });
  }
}

function checkNodeType(scope: Construct, nodeType: string): void {
  if (Token.isUnresolved(nodeType) || NODE_TYPE.test(nodeType)) return;
  throw invalid(
    scope,
    `nodeType must be of a family with synchronous writes (M6g, R6g, C7gn or later), such as 'cache.m6g.large', but it is ${show(nodeType)}.`,
  );
}

/** The ids of the subnets of the nodes. */
function subnetsFor(scope: Construct, { vpc, vpcSubnets }: LockCacheProps): string[] {
  if (typeof vpc?.selectSubnets !== 'function') throw invalid(scope, `vpc must be a Vpc, but it is ${show(vpc)}.`);
  const subnets = vpc.isolatedSubnets.length > 0 ? vpc.isolatedSubnets : vpc.privateSubnets;
  const { subnetIds, availabilityZones, hasPublic } = selectedFrom(scope, vpc, vpcSubnets ?? { subnets });
  const zones = new Set(availabilityZones).size;
  if (!hasPublic && zones >= 2) return subnetIds;
  const found = hasPublic ? 'some are public' : `there are ${subnetIds.length}, in ${zones} of the zones`;
  throw invalid(
    scope,
    `vpcSubnets must be private or isolated, in two zones or more, but in ${vpc.node.path} ${found}.`,
  );
}

/** The CDK's own error for a selection without subnets names no construct. */
function selectedFrom(scope: Construct, vpc: ec2.IVpc, selection: ec2.SubnetSelection): ec2.SelectedSubnets {
  try {
    return vpc.selectSubnets(selection);
  } catch (error) {
    throw invalid(scope, `vpcSubnets must select subnets of ${vpc.node.path}: ${(error as Error).message}`);
  }
}
