import { Annotations, Stack, Token } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import type * as kms from 'aws-cdk-lib/aws-kms';
import type { Construct } from 'constructs';
import { show } from '../record/check.ts';
import { invalid } from './invalid.ts';
import { checkOneOf } from './table-options.ts';

/** The props of a lock table that its Regions have to do with. */
interface Regions {
  readonly replicas?: readonly string[];
  readonly multiRegionConsistency?: dynamodb.MultiRegionConsistency;
  readonly witnessRegion?: string;
  readonly timeToLive?: boolean;
  readonly encryptionKey?: kms.IKey;
  readonly replicaKeyArns?: Readonly<Record<string, string>>;
}

/** True for a table whose replicas agree before a write is answered. Such a table has no TTL and no transactions. */
export const isStrong = ({ multiRegionConsistency }: Regions): boolean =>
  multiRegionConsistency === dynamodb.MultiRegionConsistency.STRONG;

/** Gives the part of a table's props that replicates it. */
export function replicationOf(props: Regions): Partial<dynamodb.TablePropsV2> {
  const { replicas = [], multiRegionConsistency, witnessRegion } = props;
  if (!isStrong(props)) return {};
  return {
    ...(multiRegionConsistency && { multiRegionConsistency }),
    replicas: replicas.map((region) => ({ region })),
    ...(witnessRegion !== undefined && { witnessRegion }),
  };
}

/**
 * Refuses replicas that would grant a lock twice, and a table that DynamoDB does not offer. Warns of what a table with
 * strong consistency across Regions lacks.
 */
export function checkReplication(scope: Construct, props: Regions): void {
  const { replicas = [], multiRegionConsistency, witnessRegion } = props;
  checkOneOf(scope, 'multiRegionConsistency', multiRegionConsistency, dynamodb.MultiRegionConsistency);
  if (!Array.isArray(replicas) || replicas.some((replica) => typeof replica !== 'string')) {
    throw invalid(scope, `replicas must be an array of Regions, such as ['us-east-1'], but it is ${show(replicas)}.`);
  }
  if (!isStrong(props)) {
    const others = witnessRegion === undefined ? replicas : [...replicas, witnessRegion];
    if (others.length === 0) return;
    throw invalid(
      scope,
      `replicas and a witness must have multiRegionConsistency STRONG, but it is ${multiRegionConsistency ?? 'EVENTUAL by default'} for [${others.join(', ')}]; an eventually consistent replica judges a lock by what its own Region knows, and grants it twice.`,
    );
  }
  if (props.timeToLive ?? true) {
    throw invalid(
      scope,
      'timeToLive must be false with strong consistency across Regions, which DynamoDB offers without TTL, but it is true; the records of keys that are no longer used then stay.',
    );
  }
  Annotations.of(scope).addWarningV2(
    'leasehold:strongConsistency',
    'With strong consistency across Regions DynamoDB has no TTL, so that the records of keys that are no longer used stay, and no transactions, so that there are no guarded writes (conditionCheck, writeWhileHeld).',
  );
}

/**
 * Refuses replicas, and a customer's key, in a stack that does not know its Region; a Region that is named twice; and keys of
 * Regions that need none.
 */
export function checkRegion(scope: Construct, props: Regions): void {
  const { replicas = [], witnessRegion, encryptionKey, replicaKeyArns } = props;
  const { region } = Stack.of(scope);
  if (Token.isUnresolved(region) && (replicas.length > 0 || encryptionKey)) {
    const what =
      replicas.length > 0 ? `replicas [${replicas.join(', ')}]` : `encryptionKey ${encryptionKey?.node.path}`;
    throw invalid(
      scope,
      `${what} must be in a stack whose Region is known when the app is synthesised, but it is ${region}; give the stack an env.`,
    );
  }
  if (replicas.includes(region)) {
    throw invalid(scope, `replicas must be other Regions than the stack's, but ${region} is among them.`);
  }
  if (witnessRegion !== undefined && [region, ...replicas].includes(witnessRegion)) {
    throw invalid(
      scope,
      `witnessRegion must be another Region than the stack's and the replicas', but it is ${witnessRegion} as well.`,
    );
  }
  const twice = replicas.find((replica, index) => replicas.indexOf(replica) !== index);
  if (twice !== undefined) throw invalid(scope, `replicas must be named once each, but ${twice} is named twice.`);
  if (replicaKeyArns && !encryptionKey) {
    throw invalid(
      scope,
      `replicaKeyArns must come with an encryptionKey, the key of the stack's own Region, but there is none.`,
    );
  }
  const keyed = Object.keys(replicaKeyArns ?? {});
  const needed = encryptionKey ? replicas : [];
  const differing = [
    ...needed.filter((replica) => !keyed.includes(replica)),
    ...keyed.filter((key) => !needed.includes(key)),
  ];
  if (differing.length > 0) {
    throw invalid(
      scope,
      `replicaKeyArns must have a key for each of the replicas [${replicas.join(', ')}] and for no other Region, but it has [${keyed.join(', ')}].`,
    );
  }
}
