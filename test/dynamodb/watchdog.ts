/**
 * Runs the server that its arguments name, and kills it when the process that started this one is gone, however that
 * ended: the IPC channel between the two closes even after a SIGKILL.
 */
import { spawn } from 'node:child_process';

const [command = '', ...args] = process.argv.slice(2);
const server = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit'] });

server.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});
server.on('exit', () => process.exit());

// SIGKILL, because a server that is stopped by SIGSTOP obeys no other signal, and there is nothing in it to save.
process.on('disconnect', () => server.kill('SIGKILL'));
if (!process.connected) server.kill('SIGKILL');
// The callback takes the error of a parent that is already gone; "disconnect" deals with that.
if (server.pid) process.send?.(server.pid, () => {});
