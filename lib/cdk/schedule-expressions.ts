import { Annotations, Duration, Token } from 'aws-cdk-lib';
import type { ScheduleExpression } from 'aws-cdk-lib/aws-scheduler';
import type { Construct } from 'constructs';
import { show } from '../record/check.ts';
import { invalid, lengthOf, shown } from './invalid.ts';

/** The forms that EventBridge Scheduler takes: six fields, a rate, or a moment. */
const FORM = /^(cron\((\S+\s+){5}\S+\)|rate\([1-9]\d*\s+(minute|hour|day)s?\)|at\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\))$/;

const MINUTES: Readonly<Record<string, number>> = { minute: 1, hour: 60, day: 24 * 60 };

/** @param name the name of the prop, for the message. */
export function checkSchedule(scope: Construct, name: string, schedule: ScheduleExpression): void {
  const text = schedule?.expressionString;
  if (typeof text !== 'string') {
    throw invalid(
      scope,
      `${name} must be a ScheduleExpression, such as ScheduleExpression.cron({ hour: '2', minute: '0' }), but it is ${shown(schedule)}.`,
    );
  }
  if (Token.isUnresolved(text) || FORM.test(text)) return;
  throw invalid(
    scope,
    `${name} must be cron(minutes hours day-of-month month day-of-week year), rate(value unit) or at(yyyy-mm-ddThh:mm:ss), but it is ${show(text)}.`,
  );
}

/** The props that the times of runs depend on. */
interface Times {
  readonly enabled?: boolean;
  readonly end?: Date;
  readonly runsWithin?: Duration;
}

type Schedules = Readonly<Record<string, ScheduleExpression>>;

/**
 * Warns of times that are no errors: an app that was right when its job ran stays deployable.
 * @param schedules the schedules by the names of their props. All have been checked.
 */
export function warnOfSchedules(scope: Construct, times: Times, schedules: Schedules): void {
  const now = new Date();
  for (const [name, schedule] of Object.entries(schedules)) warnOfSchedule(scope, times, { name, schedule, now });
  warnOfEnd(scope, times, { schedules, now });
  warnOfSilence(scope, times, schedules);
}

const warn = (scope: Construct, id: string, message: string): void =>
  Annotations.of(scope).addWarningV2(`leasehold:${id}`, message);

/** Warns of a time zone that is unknown, and of a schedule at one time that has passed. */
function warnOfSchedule(
  scope: Construct,
  { enabled }: Times,
  { name, schedule, now }: { readonly name: string; readonly schedule: ScheduleExpression; readonly now: Date },
): void {
  const { expressionString: text, timeZone } = schedule;
  const zone = timeZone?.timezoneName ?? 'Etc/UTC';
  if (Token.isUnresolved(zone)) return;
  const clock = wallClock(now, zone);
  if (clock === undefined) {
    warn(
      scope,
      'timeZone',
      `${name} has the time zone ${show(zone)}, which Node ${process.versions.node} does not know, and which EventBridge Scheduler refuses unless it knows more. Correct the name, or acknowledge this warning.`,
    );
    return;
  }
  if (enabled === false || Token.isUnresolved(text) || !text.startsWith('at(') || text >= `at(${clock})`) return;
  warn(
    scope,
    'pastTime',
    `${name} is ${text} in the time zone ${zone}, which has passed: this schedule starts no run. Name a later time, take the schedule away, or acknowledge this warning.`,
  );
}

/** Warns of an end that has passed. Scheduler ignores the end for a schedule at one time. */
function warnOfEnd(
  scope: Construct,
  { enabled, end }: Times,
  { schedules, now }: { readonly schedules: Schedules; readonly now: Date },
): void {
  const isRecurring = Object.values(schedules).some(({ expressionString }) => /^(cron|rate)\(/.test(expressionString));
  if (enabled === false || !isRecurring || end === undefined || end > now) return;
  warn(
    scope,
    'pastTime',
    `end is ${end.toISOString()}, which has passed: no schedule by cron or rate starts a run. Name a later end, take the construct away, or acknowledge this warning.`,
  );
}

/** Warns of an alarm that is on before each run, as far as the time from one run to the next is plain. */
function warnOfSilence(scope: Construct, { runsWithin }: Times, schedules: Schedules): void {
  const [only = '', ...others] = Object.values(schedules).map(({ expressionString }) => expressionString);
  const period = others.length > 0 ? undefined : periodOf(only);
  if (period === undefined || !(lengthOf(runsWithin, 'toMinutes') < period)) return;
  const time = Duration.minutes(period).toHumanString();
  warn(
    scope,
    'runsWithin',
    `runsWithin is ${shown(runsWithin)}, but the time from one run of ${only} to the next is ${time}: the alarm didNotRun is on before each run. Give runsWithin more than ${time}.`,
  );
}

/** The date and time that clocks of a time zone show, as in `at(…)`. Undefined for a time zone that is unknown. */
function wallClock(now: Date, timeZone: string): string | undefined {
  const [two, numeric] = ['2-digit', 'numeric'] as const;
  const fields = { year: numeric, month: two, day: two, hour: two, minute: two, second: two };
  try {
    const parts = new Intl.DateTimeFormat('en', { ...fields, timeZone, hourCycle: 'h23' }).formatToParts(now);
    const { year, month, day, hour, minute, second } = Object.fromEntries(
      parts.map(({ type, value }) => [type, value]),
    );
    return `${year}-${month}-${day}T${hour}:${minute}:${second}`;
  } catch {
    return undefined;
  }
}

/** The minutes from one run to the next, of a rate and of a cron for each hour or each day. Undefined for all else. */
function periodOf(text: string): number | undefined {
  const [, value, unit = ''] = /^rate\((\d+)\s+(minute|hour|day)s?\)$/.exec(text) ?? [];
  if (value !== undefined) return Number(value) * (MINUTES[unit] as number);
  const [, hour] = /^cron\(\d+ (\*|\d+) (?:\* \* \?|\? \* \*) \*\)$/.exec(text) ?? [];
  if (hour === undefined) return undefined;
  return hour === '*' ? 60 : 24 * 60;
}
