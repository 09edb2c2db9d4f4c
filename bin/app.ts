import { App } from 'aws-cdk-lib';
import { DemoStack } from './demo-stack.ts';

new DemoStack(new App(), 'LeaseholdDemo', {
  description: 'leasehold: a nightly job, a fleet, a queue consumer and a state machine that share a table of locks',
});
