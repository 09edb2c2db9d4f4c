import { Annotations, Duration, Token } from 'aws-cdk-lib';
import type * as sqs from 'aws-cdk-lib/aws-sqs';
import type { Construct } from 'constructs';
import { invalid } from './invalid.ts';
import type { ILockTable } from './lock-table-base.ts';

/** SQS's longest. */
const LONGEST_DAYS = 14;
/** SQS's default. */
const DEFAULT_DAYS = 4;
/** A record must outlive a message by the time that a worker may wait and run before its message is written. */
const MARGIN_DAYS = 1;

/** The retention of a job's or fleet's own table: a record of finished work outlives every message of the queue. */
export const retentionFor = (queue: sqs.IQueue | undefined): Duration =>
  Duration.days(Math.ceil((queue && daysOf(queue)) ?? LONGEST_DAYS) + MARGIN_DAYS);

/** The retention of a job's or fleet's own queue: a message is gone before the record of finished work is. */
export function queueRetentionFor(scope: Construct, { retention, node }: ILockTable): Duration {
  const days = Math.min(LONGEST_DAYS, (retention?.toDays() ?? Infinity) - MARGIN_DAYS);
  if (days >= 1) return Duration.days(days);
  throw invalid(
    scope,
    `lockTable must keep its records for 2 days or more, so that the dead-letter queue can keep a message for a day, but ${node.path} keeps them for ${retention?.toDays()} day.`,
  );
}

/** Refuses a table that forgets finished work before the queue forgets an event that failed. */
export function checkRetention(scope: Construct, { retention, node }: ILockTable, queue: sqs.IQueue): void {
  const days = daysOf(queue);
  const needed = Math.ceil(days ?? LONGEST_DAYS) + MARGIN_DAYS;
  if (retention === undefined || retention.toDays() >= needed) return;
  const kept = `${node.path} keeps its records for ${retention.toDays()} days`;
  const effect = 'An event that is redriven after that repeats work that is done.';
  if (days === undefined) {
    Annotations.of(scope).addWarningV2(
      'leasehold:retention',
      `${kept}, and nobody knows for how long deadLetterQueue ${queue.node.path} keeps its messages: up to ${LONGEST_DAYS} days. ${effect} Give the table a retention of Duration.days(${needed}), or acknowledge this warning if the queue keeps its messages for less.`,
    );
    return;
  }
  throw invalid(
    scope,
    `lockTable must have a retention of Duration.days(${needed}) or more, since deadLetterQueue ${queue.node.path} keeps its messages for ${days} days, but ${kept}. ${effect}`,
  );
}

/** The days for which a queue keeps a message. Undefined if this app does not say. */
function daysOf(queue: sqs.IQueue): number | undefined {
  const resource = queue.node.defaultChild as sqs.CfnQueue | undefined;
  if (resource === undefined) return undefined;
  const { messageRetentionPeriod: seconds = DEFAULT_DAYS * 86_400 } = resource;
  return Token.isUnresolved(seconds) ? undefined : seconds / 86_400;
}
