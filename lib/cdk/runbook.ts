const RUNBOOK = 'https://github.com/leasehold/leasehold/blob/main/docs/runbook.md';

/** The description of an alarm, with its section of the runbook: whoever is paged reads the description first. */
export const describeAlarm = (text: string, section: string): string => `${text} ${RUNBOOK}#${section.toLowerCase()}`;

/** The description of an alarm on a job that took no lock. */
export const JOB_DID_NOT_RUN = describeAlarm(
  'A job took no lock in time: it did not run, or met its lock busy each time.',
  'didNotRun',
);
