// A user's CDK app, and what the test that `cdk init` makes for it would ask.
import { App, Stack } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { Code, Function as LambdaFunction, Runtime } from 'aws-cdk-lib/aws-lambda';
import { LockTable } from 'leasehold/cdk';

export async function run(): Promise<void> {
  const stack = new Stack(new App(), 'Jobs');
  const nightly = new LambdaFunction(stack, 'Nightly', {
    runtime: Runtime.NODEJS_24_X,
    handler: 'index.handler',
    code: Code.fromInline('exports.handler = async () => {}'),
  });
  new LockTable(stack, 'Locks').attach(nightly, { keyPrefixes: ['nightly/'] });

  const template = Template.fromStack(stack);
  template.resourceCountIs('AWS::DynamoDB::GlobalTable', 1);
  template.hasResourceProperties('AWS::Lambda::Function', {
    Environment: { Variables: { LOCK_TABLE_NAME: Match.anyValue() } },
  });
}
