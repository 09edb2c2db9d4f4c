import { describe, expect, test } from '@jest/globals';
import { Duration, Lazy, TimeZone } from 'aws-cdk-lib';
import { Annotations, Match } from 'aws-cdk-lib/assertions';
import { ScheduleExpression } from 'aws-cdk-lib/aws-scheduler';
import { type ScheduledFunctionProps, SingletonFleet, SingletonJob } from '../../lib/cdk/index.ts';
import { functionIn, newStack, nightly } from './stacks.ts';

const { at, cron, expression, rate } = ScheduleExpression;

type Times = Partial<ScheduledFunctionProps>;

describe.each([
  {
    what: 'a job',
    prop: 'schedules[0]',
    make: (schedule: ScheduleExpression, times: Times = {}) => {
      const stack = newStack();
      new SingletonJob(stack, 'It', { function: functionIn(stack), key: 'one', ...times, schedules: [schedule] });
      return stack;
    },
  },
  {
    what: 'a fleet',
    prop: 'schedule',
    make: (schedule: ScheduleExpression, times: Times = {}) => {
      const stack = newStack();
      const props = { function: functionIn(stack), workers: 2, keyPrefixes: ['jobs/'] };
      new SingletonFleet(stack, 'It', { ...props, ...times, schedule });
      return stack;
    },
  },
])('the schedules of $what', ({ what, prop, make }) => {
  const warningsOf = (schedule: ScheduleExpression, times?: Times) =>
    Annotations.fromStack(make(schedule, times))
      .findWarning('*', Match.anyValue())
      .map(({ id, entry }) => `${id}: ${entry.data}`);

  test.each([
    'garbage',
    '',
    '0 2 * * *',
    'cron()',
    'cron(0 2 * * *)',
    'cron(0 2 * * ? *) ',
    'rate(1)',
    'rate(0 hours)',
    'rate(1.5 hours)',
    'rate(30 seconds)',
    'at(2096-01-01)',
  ])(`${what} refuses the expression '%s', naming its path and the value`, (text) => {
    expect(() => make(expression(text))).toThrow(
      new TypeError(
        `[Stack/It] ${prop} must be cron(minutes hours day-of-month month day-of-week year), rate(value unit) or at(yyyy-mm-ddThh:mm:ss), but it is '${text}'.`,
      ),
    );
  });

  test.each([
    'cron(0/15 8-17 ? * MON-FRI *)',
    'cron(0-15/1 8-8 ? * 2,3,4,5,6,7 *)',
    'cron(0 0 L * ? 2096)',
    'rate(1 hour)',
    'rate(5 minutes)',
    'at(2096-01-01T00:00:00)',
    Lazy.string({ produce: () => 'rate(1 hour)' }),
    `rate(${Lazy.string({ produce: () => '1' })} hour)`,
    `at(${Lazy.string({ produce: () => '2096-01-01T00:00:00' })})`,
  ])(`${what} takes the expression '%s' without a warning`, (text) => {
    expect(warningsOf(expression(text), { runsWithin: Duration.hours(25) })).toEqual([]);
  });

  test(`${what} warns of a schedule at a time that has passed, and is no error`, () => {
    expect(warningsOf(at(new Date('2020-01-01T00:00:00Z')))).toEqual([
      expect.stringContaining(
        `/Stack/It: ${prop} is at(2020-01-01T00:00:00) in the time zone Etc/UTC, which has passed: this schedule starts no run.`,
      ),
    ]);
    expect(warningsOf(at(new Date('2020-01-01T00:00:00Z')), { enabled: false })).toEqual([]);
  });

  test(`${what} reads the time of a schedule by the clocks of its time zone`, () => {
    const inHours = (hours: number) => new Date(Date.now() + hours * 3_600_000);
    expect(warningsOf(at(inHours(-1)))).toHaveLength(1);
    expect(warningsOf(at(inHours(1)))).toEqual([]);
    expect(warningsOf(at(inHours(1), TimeZone.ASIA_TOKYO))).toHaveLength(1);
    expect(warningsOf(at(inHours(-1), TimeZone.AMERICA_LOS_ANGELES))).toEqual([]);
  });

  test(`${what} warns of an end that has passed, unless its schedules ignore the end`, () => {
    const end = new Date('2020-01-01T00:00:00Z');
    expect(warningsOf(nightly, { end })).toEqual([
      expect.stringContaining(
        '/Stack/It: end is 2020-01-01T00:00:00.000Z, which has passed: no schedule by cron or rate starts a run.',
      ),
    ]);
    expect(warningsOf(nightly, { end, enabled: false })).toEqual([]);
    expect(warningsOf(nightly, { end: new Date('2096-01-01T00:00:00Z') })).toEqual([]);
    expect(warningsOf(at(new Date('2096-01-01T00:00:00Z')), { end })).toEqual([]);
    expect(warningsOf(expression(Lazy.string({ produce: () => 'at(2096-01-01T00:00:00)' })), { end })).toEqual([]);
  });

  test(`${what} warns of a time zone that Node does not know, and takes one that comes with the deployment`, () => {
    expect(warningsOf(cron({ hour: '2', timeZone: TimeZone.of('Europe/Berln') }))).toEqual([
      expect.stringContaining(`/Stack/It: ${prop} has the time zone 'Europe/Berln', which Node`),
    ]);
    const timeZone = TimeZone.of(Lazy.string({ produce: () => 'Europe/Berlin' }));
    expect(warningsOf(cron({ hour: '2', timeZone }))).toEqual([]);
  });

  test.each<[string, ScheduleExpression, Duration, string | undefined]>([
    ['an hourly rate within 5 minutes', rate(Duration.hours(1)), Duration.minutes(5), '1 hour'],
    ['an hourly rate within 2 hours', rate(Duration.hours(1)), Duration.hours(2), undefined],
    ['a rate within its own period', rate(Duration.minutes(90)), Duration.minutes(90), undefined],
    ['a rate of 2 days within a day', rate(Duration.days(2)), Duration.days(1), '2 days'],
    ['a nightly cron within 23 hours', nightly, Duration.hours(23), '1 day'],
    ['a nightly cron within 25 hours', nightly, Duration.hours(25), undefined],
    ['an hourly cron within 30 minutes', cron({ minute: '7' }), Duration.minutes(30), '1 hour'],
    ['a cron every five minutes', cron({ minute: '0/5' }), Duration.minutes(30), undefined],
    ['a weekly cron', cron({ minute: '0', hour: '2', weekDay: 'MON' }), Duration.hours(1), undefined],
  ])(`${what} warns of an alarm that is on before each run: %s`, (_, schedule, runsWithin, period) => {
    const text = `runsWithin is ${runsWithin}, but the time from one run of ${schedule.expressionString} to the next is ${period}: the alarm didNotRun is on before each run. Give runsWithin more than ${period}.`;
    expect(warningsOf(schedule, { runsWithin })).toEqual(period ? [expect.stringContaining(text)] : []);
  });
});

test('a job with several schedules may run more often than each of them says', () => {
  const stack = newStack();
  const schedules = [nightly, cron({ hour: '14', minute: '0' })];
  const runsWithin = Duration.hours(13);
  new SingletonJob(stack, 'It', { function: functionIn(stack), key: 'one', schedules, runsWithin });
  expect(Annotations.fromStack(stack).findWarning('*', Match.anyValue())).toEqual([]);
});
