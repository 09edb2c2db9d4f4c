export type { RunTasksOptions } from './options.ts';
export type { TaskFailure, TaskProgress, TaskReport } from './report.ts';
export { runTasks } from './run-tasks.ts';
