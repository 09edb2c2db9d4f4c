import * as cdk from 'aws-cdk-lib';
import type { IConstruct } from 'constructs';

/**
 * Acknowledges findings of cdk-nag on a construct of leasehold's own, so that a user's app has none: cdk-nag 3 reads the
 * CDK's acknowledgements, which CDK versions such as 2.223 do not have, and cdk-nag 2 reads the resource's metadata.
 * @param reasons the reason for each rule.
 */
export function acknowledge(construct: IConstruct, reasons: Readonly<Record<string, string>>): void {
  const rules = Object.entries(reasons).map(([id, reason]) => ({ id, reason }));
  const { Validations } = cdk as Partial<typeof cdk>;
  Validations?.of(construct).acknowledge(...rules);
  (construct.node.defaultChild as cdk.CfnResource).addMetadata('cdk_nag', { rules_to_suppress: rules });
}
