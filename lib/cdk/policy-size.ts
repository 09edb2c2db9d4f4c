import { CfnResource, Stack } from 'aws-cdk-lib';
import type * as iam from 'aws-cdk-lib/aws-iam';
import type { IConstruct } from 'constructs';

/** IAM's limits in characters, for all inline policies of a principal together, and for one managed policy. */
const MOST_INLINE: Readonly<Record<string, number>> = {
  'AWS::IAM::Role': 10_240,
  'AWS::IAM::Group': 5_120,
  'AWS::IAM::User': 2_048,
};
const MOST_MANAGED = 6_144;
/** Stands for a value that comes with the deployment, as the table's ARN. */
const UNKNOWN = 'x'.repeat(100);

const checked = new WeakSet<IConstruct>();

/**
 * Lets the synthesis fail if the policies of a principal are larger than IAM takes: the deployment would fail. The CDK splits
 * the policies of a role, and of nobody else.
 */
export function checkPolicySize({ grantPrincipal }: iam.IGrantable): void {
  const principal = grantPrincipal as iam.IPrincipal & Partial<IConstruct>;
  const { node } = principal;
  if (node === undefined || checked.has(principal as IConstruct)) return;
  checked.add(principal as IConstruct);
  node.addValidation({ validate: () => sizeFaults(principal as IConstruct) });
}

function sizeFaults(principal: IConstruct): string[] {
  const type = (principal.node.defaultChild as CfnResource | undefined)?.cfnResourceType ?? 'AWS::IAM::Role';
  const sizes = (policyType: string) =>
    principal.node
      .findAll()
      .filter((child) => CfnResource.isCfnResource(child) && child.cfnResourceType === policyType)
      .map((child) => sizeOf(Stack.of(child).resolve((child as iam.CfnPolicy).policyDocument)));
  const inline = sizes('AWS::IAM::Policy').reduce((sum, size) => sum + size, 0);
  const most = MOST_INLINE[type] ?? Infinity;
  const fault = (found: number, limit: number) =>
    `The grants to ${principal.node.path} have about ${found} characters, but IAM takes ${limit}. Name keyPrefixes in the place of single keys.`;
  return [
    ...(inline > most ? [fault(inline, most)] : []),
    ...sizes('AWS::IAM::ManagedPolicy').flatMap((size) => (size > MOST_MANAGED ? [fault(size, MOST_MANAGED)] : [])),
  ];
}

/** The length of a policy without white space, which IAM does not count. */
const sizeOf = (document: unknown): number =>
  JSON.stringify(document, (_, value) => {
    const [name = '', ...others] = Object.keys(typeof value === 'object' ? (value ?? {}) : {});
    if (others.length > 0 || !/^(Ref|Fn::)/.test(name)) return value;
    if (name !== 'Fn::Join') return UNKNOWN;
    const [between, parts] = value[name] as [string, unknown[]];
    return parts.map((part) => (typeof part === 'string' ? part : UNKNOWN)).join(between);
  }).length;
