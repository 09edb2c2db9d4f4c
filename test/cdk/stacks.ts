import { App, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import { ScheduleExpression } from 'aws-cdk-lib/aws-scheduler';

export const ENV = { region: 'us-east-1', account: '111111111111' };
export const app = () => new App({ builtinCloudFormationValidation: false, analyticsReporting: false });
export const newStack = (id = 'Stack', env?: { region: string; account: string }) =>
  new Stack(app(), id, env && { env });
export const roleIn = (stack: Stack, id = 'Role') =>
  new Role(stack, id, { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
export const functionIn = (
  stack: Stack,
  id = 'Worker',
  environment: Record<string, string> = {},
  props: Partial<lambda.FunctionProps> = {},
) =>
  new lambda.Function(stack, id, {
    runtime: lambda.Runtime.NODEJS_24_X,
    handler: 'index.handler',
    code: lambda.Code.fromInline('exports.handler = async () => {}'),
    environment,
    ...props,
  });

/** The statements of the policies of every role. */
export function statementsOf(stack: Stack): Record<string, unknown>[] {
  const policies = Object.values(Template.fromStack(stack).findResources('AWS::IAM::Policy'));
  return policies.flatMap((policy) => policy.Properties.PolicyDocument.Statement);
}

/** Two o'clock each night, in UTC. */
export const nightly = ScheduleExpression.cron({ hour: '2', minute: '0' });
export const workerIn = (stack: Stack) => stack.node.findChild('Worker') as lambda.Function;
export const propertiesOf = (template: Template, type: string) =>
  Object.values(template.findResources(type)).map(({ Properties }) => Properties as Record<string, unknown>);
