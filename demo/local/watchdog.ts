/**
 * Runs the server that its arguments name, and kills the server when the process that started this one is gone. The IPC
 * channel between the two processes closes at every end, even after a SIGKILL.
 */
import { spawn } from 'node:child_process';

const [command = '', ...args] = process.argv.slice(2);
const server = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit'] });

server.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});
server.on('exit', () => process.exit());

// SIGKILL: a server that is stopped by SIGSTOP obeys no other signal, and the server has nothing to save.
process.on('disconnect', () => server.kill('SIGKILL'));
if (!process.connected) server.kill('SIGKILL');
// The callback takes the error of a parent that is already gone; "disconnect" deals with that end.
if (server.pid) process.send?.(server.pid, () => {});
