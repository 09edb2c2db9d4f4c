export type { LockAlarmsProps } from './alarms.ts';
export { LockAlarms } from './alarms.ts';
export type { LockDashboardProps } from './dashboard.ts';
export { LockDashboard } from './dashboard.ts';
export type { LockGrantOptions, LockKeyOptions } from './grants.ts';
export { LockTableGrants } from './grants.ts';
export type { ILockTable, LockMetricOptions, LockTableAttributes, LockTableProps } from './lock-table.ts';
export { LockTable } from './lock-table.ts';
