/** Findings about the metrics and the alarms of a lock table: a lost lease that nobody hears of, and an alarm that is on. */
import type { MetricAlarm } from '@aws-sdk/client-cloudwatch';
import { tableIn } from '../lib/emf.ts';
import { METRIC, METRIC_DIMENSION, METRIC_NAMESPACE } from '../lib/names.ts';
import { show } from '../lib/record/check.ts';
import type { StoreProblem } from '../lib/record/store.ts';
import { answerTo, type Finding, orFine } from './findings.ts';
import { BOUNDS } from './sdk-clients.ts';
import { warn } from './terminal.ts';

type SDK = typeof import('@aws-sdk/client-cloudwatch');

/** The variables that lead a DynamoDB client elsewhere, an emulator mostly, which has no CloudWatch. */
const ENDPOINTS = ['AWS_ENDPOINT_URL_DYNAMODB', 'AWS_ENDPOINT_URL'] as const;

/**
 * Looks at the metrics and alarms of a table on AWS. Looks at those of an emulator only if a variable names its CloudWatch.
 * A look that is left out is told on the standard error, and is no finding: nothing is wrong with the place of the locks.
 */
export async function examineMetrics(tableName: string): Promise<Finding[]> {
  const elsewhere = ENDPOINTS.find((name) => process.env[name] && !isOfAWS(process.env[name]));
  if (elsewhere && !process.env.AWS_ENDPOINT_URL_CLOUDWATCH) {
    warn(`The metrics and alarms were not looked at: the table is at ${process.env[elsewhere]}, beside no CloudWatch.`);
    return [];
  }
  const sdk = await import('@aws-sdk/client-cloudwatch').catch(() => undefined);
  if (sdk === undefined) {
    warn('The metrics and alarms were not looked at: type npm install @aws-sdk/client-cloudwatch, and ask again.');
    return [];
  }
  const client = new sdk.CloudWatchClient(BOUNDS);
  const table = tableIn(tableName);
  const problems: Finding[] = [];
  try {
    const input = { Namespace: METRIC_NAMESPACE, Dimensions: [{ Name: METRIC_DIMENSION.table, Value: table }] };
    const metrics = await answerTo('ListMetrics', 'the metrics', problems, () =>
      client.send(new sdk.ListMetricsCommand(input)),
    );
    if (metrics?.Metrics?.length === 0) {
      const message =
        'No metrics of the table came in during the last two weeks: set LOCK_METRICS=emf in each function, so that alarms hear of lost leases.';
      problems.push({ severity: 'warning', message });
    } else if (metrics) {
      problems.push({ severity: 'ok', message: 'Metrics of the table came in during the last two weeks.' });
    }
    const alarms = await answerTo('DescribeAlarms', 'the alarms', problems, () => alarmsOf(sdk, client, table));
    if (alarms)
      problems.push(...orFine(findings(alarms), 'An alarm watches lost leases, and no alarm of the table is on.'));
    return problems;
  } finally {
    client.destroy();
  }
}

/** True of AWS's own endpoints, those of a VPC and of China too. */
const isOfAWS = (endpoint: string): boolean =>
  URL.canParse(endpoint) && /\.(amazonaws\.com(\.cn)?|api\.aws)$/.test(new URL(endpoint).hostname);

/** The alarms on the metrics of the locks and of the table itself. */
async function alarmsOf(sdk: SDK, client: InstanceType<SDK['CloudWatchClient']>, table: string) {
  const alarms: MetricAlarm[] = [];
  for await (const { MetricAlarms = [] } of sdk.paginateDescribeAlarms({ client }, { AlarmTypes: ['MetricAlarm'] })) {
    alarms.push(
      ...MetricAlarms.filter((alarm) => metricsOf(alarm).some(({ Dimensions = [] }) => isOf(Dimensions, table))),
    );
  }
  return alarms;
}

const isOf = (dimensions: readonly { readonly Name?: string; readonly Value?: string }[], table: string): boolean =>
  dimensions.some(({ Name, Value }) => Value === table && (Name === METRIC_DIMENSION.table || Name === 'TableName'));

/** The metrics of an alarm: its own, or those of its expression. */
const metricsOf = ({ MetricName, Dimensions = [], Metrics = [] }: MetricAlarm) => [
  { MetricName, Dimensions },
  ...Metrics.map(({ MetricStat }) => MetricStat?.Metric ?? {}),
];

function findings(alarms: readonly MetricAlarm[]): StoreProblem[] {
  const problems: StoreProblem[] = [];
  const find = (message: string) => problems.push({ severity: 'warning', message });
  if (!alarms.some((alarm) => metricsOf(alarm).some(({ MetricName }) => MetricName === METRIC.lost))) {
    find(
      `No alarm watches the metric ${METRIC.lost}, so that nobody hears of a lost lease: lockTable.addAlarms() makes the alarms, and docs/without-the-cdk.md has one to copy.`,
    );
  }
  for (const {
    AlarmName,
    AlarmActions = [],
    ActionsEnabled,
    StateValue,
    StateReason,
    StateUpdatedTimestamp,
  } of alarms) {
    const name = `The alarm ${show(AlarmName)}`;
    if (StateValue === 'ALARM') {
      const since = StateUpdatedTimestamp ? ` since ${StateUpdatedTimestamp.toISOString()}` : '';
      find(`${name} is on${since}: ${StateReason ?? 'CloudWatch gives no reason'} docs/runbook.md says what to do.`);
    }
    if (AlarmActions.length === 0) find(`${name} tells nobody: it has no actions.`);
    else if (ActionsEnabled === false) find(`${name} tells nobody: its actions are switched off.`);
  }
  return problems;
}
