import { describe, expect, test } from '@jest/globals';
import { Duration, Lazy, type Stack } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import { LockBucket, LockCache, LockTable, SingletonFleet, SingletonJob } from '../../lib/cdk/index.ts';
import { functionIn, newStack, nightly } from './stacks.ts';

type Make = (stack: Stack, given: never) => unknown;

const aNumber = Lazy.number({ produce: () => 3 });
const hours = Duration.hours(aNumber);
const days = Duration.days(aNumber);

const table: Make = (stack, props) => new LockTable(stack, 'It', props);
const imported: Make = (stack, attributes) => LockTable.fromLockTableAttributes(stack, 'It', attributes);
const bucket: Make = (stack, props) => new LockBucket(stack, 'It', props);
const cache: Make = (stack, props: object) => new LockCache(stack, 'It', { vpc: new ec2.Vpc(stack, 'Vpc'), ...props });
const job: Make = (stack, props: object) =>
  new SingletonJob(stack, 'It', { function: functionIn(stack), schedules: [nightly], key: 'one', ...props });
const fleet: Make = (stack, props: object) =>
  new SingletonFleet(stack, 'It', {
    function: functionIn(stack),
    schedule: nightly,
    workers: 2,
    keyPrefixes: ['jobs/'],
    ...props,
  });
const attach: Make = (stack, options) => new LockTable(stack, 'It').attach(functionIn(stack), options);
const inspect: Make = (stack, options) => new LockTable(stack, 'It').grants.inspect(functionIn(stack), options);
const forceRelease: Make = (stack, options) =>
  new LockTable(stack, 'It').grants.forceRelease(functionIn(stack), options);
const alarms: Make = (stack, props) => new LockTable(stack, 'It').addAlarms(props);
const metric: Make = (stack, options) => new LockTable(stack, 'It').metricBusy(options);

const A_TOKEN = 'a token, known at deployment only.';

describe('the message of a mistake begins with the path of the construct and shows the value', () => {
  test.each<[string, Make, unknown, string]>([
    ['no props of a table', table, null, 'the options must be a plain object, but they are null.'],
    ['a table whose name is null', table, { tableName: null }, "'_', '-' and '.', but it is null."],
    ['an imported table whose name is null', imported, { tableName: null }, "'_', '-' and '.', but it is null."],
    [
      'a key that is the name of an alias',
      table,
      { encryptionKey: 'alias/locks' },
      "encryptionKey must be a Key, such as Key.fromKeyArn(), but it is 'alias/locks'.",
    ],
    ['a key that is an empty object', table, { encryptionKey: {} }, 'encryptionKey must be a Key'],
    [
      'a key of an imported table that is an ARN',
      imported,
      { tableName: 'locks', encryptionKey: 'arn' },
      "it is 'arn'.",
    ],
    ['a key of a bucket that is null', bucket, { encryptionKey: null }, 'encryptionKey must be a Key'],
    [
      'a consistency that is none',
      table,
      { multiRegionConsistency: 'strong' },
      "multiRegionConsistency must be one of EVENTUAL, STRONG, but it is 'strong'.",
    ],
    ['a retention that is a token', table, { retention: days }, `but it is ${A_TOKEN}`],
    ['a retention of an imported table that is a token', imported, { tableName: 'locks', retention: days }, A_TOKEN],
    ['an expiration that is a token', bucket, { expiration: days }, `but it is ${A_TOKEN}`],
    [
      'a name that no bucket has',
      bucket,
      { bucketName: 'Our locks' },
      "bucketName must be a name that S3 takes, such as 'jobs-locks', but it is 'Our locks': Bucket name must only contain",
    ],
    ['an empty name of a bucket', bucket, { bucketName: '' }, "but it is ''"],
    ['a name of a bucket that is a number', bucket, { bucketName: 5 }, 'but it is number 5'],
    ['a removal policy of a cache that is none', cache, { removalPolicy: 'gone' }, "but it is 'gone'."],
    [
      'subnets that the network does not have',
      cache,
      { vpcSubnets: { subnetGroupName: 'none' } },
      'vpcSubnets must select subnets of Stack/Vpc: There are no subnet groups with name',
    ],
    ['no schedule', job, { schedules: [] }, 'but it is [].'],
    ['a schedule that is an array', job, { schedules: [[]] }, 'but it is [].'],
    ['a time within which a job must run that is a token', job, { runsWithin: hours }, `but it is ${A_TOKEN}`],
    [
      'a time within which a job must run that is too long',
      job,
      { runsWithin: Duration.days(8) },
      'but it is Duration.days(8).',
    ],
    ['an age that is a token', fleet, { maxEventAge: hours }, `but it is ${A_TOKEN}`],
    ['a start that is a token', fleet, { start: Lazy.any({ produce: () => 1 }) }, `but it is ${A_TOKEN}`],
    ['workers that are an array', fleet, { workers: [] }, 'but it is [].'],
    [
      'permits that are a token',
      fleet,
      { permits: { partner: aNumber } },
      `permits of 'partner' must be known when the app is synthesised, but it is ${A_TOKEN}`,
    ],
    ['a missing action', job, { alarmActions: [undefined] }, 'but alarmActions[0] is undefined.'],
    ['a missing action of an alarm', alarms, { actions: [undefined] }, 'but actions[0] is undefined.'],
    ['keys that are an object', attach, { keys: {} }, 'keys must be an array of strings, but it is object'],
    [
      'metrics that are a text',
      attach,
      { keys: ['one'], metrics: 'false' },
      "metrics must be true or false, but it is 'false'.",
    ],
    [
      'a fleet that is a text',
      attach,
      { keyPrefixes: ['jobs/'], fleet: 'false' },
      "fleet must be true or false, but it is 'false'.",
    ],
    ['a grant without options', inspect, undefined, 'A grant: the options must be a plain object'],
    [
      'a misspelled option of a grant to inspect',
      inspect,
      { keys: ['one'], keyPrefix: ['jobs/'] },
      "A grant has no option 'keyPrefix'; did you mean 'keyPrefixes'?",
    ],
    [
      'a misspelled option of a grant to end leases',
      forceRelease,
      { keys: ['one'], keyPrefix: ['jobs/'] },
      "A grant has no option 'keyPrefix'; did you mean 'keyPrefixes'?",
    ],
    ['a metric of a name', metric, { function: 'worker' }, "must be a function, but it is 'worker'."],
  ])('%s', (_, make, given, message) => {
    const refused = () => make(newStack(), given as never);
    expect(refused).toThrow(TypeError);
    expect(refused).toThrow(message);
    expect(refused).toThrow(/^\[Stack\/It(\/Alarms)?\] /);
  });
});
