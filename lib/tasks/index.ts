export type { RunTasksOptions } from './options.ts';
export type { TaskFailure, TaskProgress, TaskReport, TaskRunError } from './report.ts';
export { runTasks } from './run-tasks.ts';
