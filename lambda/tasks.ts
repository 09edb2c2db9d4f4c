/** A task that one of the workers must do once for each time of the schedule. */
export interface Task {
  readonly name: string;
  /** The amount of work: tasks are of uneven length. */
  readonly steps: number;
}

export const tasks: readonly Task[] = [
  { name: 'invoices', steps: 34 },
  { name: 'refunds', steps: 12 },
  { name: 'payroll', steps: 40 },
  { name: 'ledger', steps: 22 },
  { name: 'taxes', steps: 16 },
  { name: 'orders', steps: 30 },
  { name: 'returns', steps: 14 },
  { name: 'stock', steps: 26 },
  { name: 'prices', steps: 36 },
  { name: 'shipping', steps: 18 },
  { name: 'search', steps: 28 },
  { name: 'sitemap', steps: 12 },
  { name: 'thumbnails', steps: 38 },
  { name: 'backups', steps: 32 },
  { name: 'archive', steps: 20 },
  { name: 'cleanup', steps: 14 },
  { name: 'digest', steps: 24 },
  { name: 'reminders', steps: 12 },
  { name: 'churn', steps: 30 },
  { name: 'forecast', steps: 40 },
  { name: 'cohorts', steps: 16 },
  { name: 'exports', steps: 26 },
  { name: 'metrics', steps: 18 },
  { name: 'audit', steps: 34 },
];
