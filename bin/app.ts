import { App } from 'aws-cdk-lib';
import { DemoStack } from './demo-stack.ts';

new DemoStack(new App(), 'LeaseholdDemo', {
  description: 'leasehold: a nightly job and a queue consumer that share a table of locks',
});
