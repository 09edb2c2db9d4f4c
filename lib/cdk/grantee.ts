import { Annotations, Stack } from 'aws-cdk-lib';
import type * as iam from 'aws-cdk-lib/aws-iam';
import type { IConstruct } from 'constructs';
import { show } from '../record/check.ts';
import { invalid } from './invalid.ts';

/** Refuses a grantee that is none, that has no role to grant to, that is a service, and everybody. */
export function checkGrantee(scope: IConstruct, grantee: iam.IGrantable): void {
  const refuse = (found: string) =>
    invalid(scope, `the grantee must be a role, a user or an account, but it is ${found}.`);
  const principal = grantee?.grantPrincipal;
  if (principal === undefined) throw refuse(show(grantee));
  const { principalJson, conditions } = fragmentOf(principal, refuse);
  const { Service: service } = principalJson;
  if (service) throw refuse(`the service ${Stack.of(scope).resolve(service)}`);
  const isEverybody = Object.values(principalJson).flat().includes('*');
  if (isEverybody && Object.keys(conditions ?? {}).length === 0) {
    throw refuse('everybody: anyone could take the locks; for an organization pass an OrganizationPrincipal');
  }
}

function fragmentOf(principal: iam.IPrincipal, refuse: (found: string) => TypeError): iam.PrincipalPolicyFragment {
  try {
    return principal.policyFragment;
  } catch {
    const { path } = (principal as unknown as { resource?: IConstruct }).resource?.node ?? {};
    throw refuse(`${path ?? 'a resource'}, which is imported without its role; import it with its role`);
  }
}

/** Warns of a grant to a role that ignores grants: an imported role of another account, or with `mutable: false`. */
export function warnOfNothing(scope: IConstruct, { grantPrincipal }: iam.IGrantable, isInTablesPolicy: boolean): void {
  if (isInTablesPolicy || !/^ImmutableRole/.test(grantPrincipal.constructor.name)) return;
  Annotations.of(scope).addWarningV2(
    'leasehold:nothingGranted',
    `A grant to ${(grantPrincipal as iam.IRole).node.path} allows nothing: this app does not change that role, which is imported from another account or with mutable: false. Allow the requests where the role is made, and acknowledge this warning.`,
  );
}
