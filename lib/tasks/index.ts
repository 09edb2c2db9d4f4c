export type { RunTasksOptions, TaskFailure, TaskProgress, TaskReport } from './options.ts';
export { runTasks } from './run-tasks.ts';
