export { type RunTasksOptions, runTasks, type TaskFailure, type TaskProgress, type TaskReport } from './run-tasks.ts';
