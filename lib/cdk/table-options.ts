import { Annotations, Token } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import type { PolicyDocument } from 'aws-cdk-lib/aws-iam';
import type { Construct } from 'constructs';
import { checkNames, show } from '../record/check.ts';
import { checkFlag, invalid, shown } from './invalid.ts';

/** The options that a lock table hands on to its `TableV2`, under their names there. */
type TableOptions = Pick<
  dynamodb.TablePropsV2,
  | 'contributorInsightsSpecification'
  | 'dynamoStream'
  | 'pointInTimeRecoverySpecification'
  | 'resourcePolicy'
  | 'tableClass'
  | 'warmThroughput'
>;

const RESTORING = 'https://github.com/leasehold/leasehold/blob/main/docs/moving-a-table.md#restoring';

/**
 * Gives the part of a table's props that is handed on as it is. Warns of backups.
 *
 * A table with strong consistency across Regions has all of these options: AWS takes TTL, transactions and local indexes from
 * such a table, and lets its stream be chosen and changed at any time.
 */
export function tableOptionsOf(scope: Construct, props: TableOptions): TableOptions {
  const { contributorInsightsSpecification, dynamoStream, pointInTimeRecoverySpecification } = props;
  const { resourcePolicy, tableClass, warmThroughput } = props;
  checkOneOf(scope, 'tableClass', tableClass, dynamodb.TableClass);
  checkOneOf(scope, 'dynamoStream', dynamoStream, dynamodb.StreamViewType);
  checkInsights(scope, contributorInsightsSpecification);
  checkThroughput(scope, warmThroughput);
  checkPolicy(scope, resourcePolicy);
  checkRecovery(scope, pointInTimeRecoverySpecification);
  return {
    ...(contributorInsightsSpecification && { contributorInsightsSpecification }),
    ...(dynamoStream && { dynamoStream }),
    ...(pointInTimeRecoverySpecification && { pointInTimeRecoverySpecification }),
    ...(resourcePolicy && { resourcePolicy }),
    ...(tableClass && { tableClass }),
    ...(warmThroughput && { warmThroughput }),
  };
}

/** Refuses a value that is none of an enumeration's. */
export function checkOneOf(scope: Construct, name: string, value: unknown, of: Readonly<Record<string, string>>): void {
  if (value === undefined || Token.isUnresolved(value)) return;
  const values = Object.values(of);
  if (values.includes(value as string)) return;
  throw invalid(scope, `${name} must be one of ${values.join(', ')}, but it is ${show(value)}.`);
}

function checkInsights(scope: Construct, insights: dynamodb.ContributorInsightsSpecification | undefined): void {
  if (insights === undefined) return;
  checkNames(`[${scope.node.path}] contributorInsightsSpecification`, insights, { enabled: 0, mode: 0 });
  checkFlag(scope, 'contributorInsightsSpecification.enabled', insights.enabled);
  checkOneOf(scope, 'contributorInsightsSpecification.mode', insights.mode, dynamodb.ContributorInsightsMode);
}

function checkThroughput(scope: Construct, throughput: dynamodb.WarmThroughput | undefined): void {
  if (throughput === undefined) return;
  checkNames(`[${scope.node.path}] warmThroughput`, throughput, { readUnitsPerSecond: 0, writeUnitsPerSecond: 0 });
  const { readUnitsPerSecond, writeUnitsPerSecond } = throughput;
  for (const [name, units] of Object.entries({ readUnitsPerSecond, writeUnitsPerSecond })) {
    if (units === undefined || Token.isUnresolved(units) || (Number.isSafeInteger(units) && units >= 1)) continue;
    throw invalid(scope, `warmThroughput.${name} must be a whole number from 1, but it is ${show(units)}.`);
  }
  if (readUnitsPerSecond !== undefined || writeUnitsPerSecond !== undefined) return;
  throw invalid(
    scope,
    'warmThroughput must have readUnitsPerSecond, writeUnitsPerSecond or both, but it has neither; leave it out for the throughput of a new table.',
  );
}

function checkPolicy(scope: Construct, policy: PolicyDocument | undefined): void {
  if (policy === undefined || typeof policy?.addStatements === 'function') return;
  throw invalid(
    scope,
    `resourcePolicy must be a PolicyDocument, such as new PolicyDocument({ statements: […] }), but it is ${show(policy)}.`,
  );
}

function checkRecovery(scope: Construct, recovery: dynamodb.PointInTimeRecoverySpecification | undefined): void {
  if (recovery === undefined) return;
  const names = { pointInTimeRecoveryEnabled: 0, recoveryPeriodInDays: 0 };
  checkNames(`[${scope.node.path}] pointInTimeRecoverySpecification`, recovery, names);
  const { pointInTimeRecoveryEnabled: isOn, recoveryPeriodInDays: days } = recovery;
  checkFlag(scope, 'pointInTimeRecoverySpecification.pointInTimeRecoveryEnabled', isOn);
  // The CDK checks the days itself, and takes no token.
  const isToken = Token.isUnresolved(days);
  const isInRange = days === undefined || (!isToken && Number.isInteger(days) && days >= 1 && days <= 35);
  if (!isInRange || (days !== undefined && isOn === false)) {
    const found = isInRange ? `${days} while recovery is off` : shown(days);
    throw invalid(
      scope,
      `pointInTimeRecoverySpecification.recoveryPeriodInDays must be a whole number from 1 to 35, for a recovery that is on, but it is ${found}.`,
    );
  }
  if (isOn === false) return;
  Annotations.of(scope).addWarningV2(
    'leasehold:pointInTimeRecovery',
    `A restored table gives out fencing tokens a second time, and does not know who holds which lock. To replace a lock table, make a new one: ${RESTORING}. If the backups are kept to be looked at alone, acknowledge this warning.`,
  );
}
