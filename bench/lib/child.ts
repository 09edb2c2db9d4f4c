// Runs one measure on one server, in a process of its own: node child.ts MEASURE SERVER [smoke]
import type { Measure } from './measure.ts';
import { type ServerName, startServer } from './servers.ts';

process.on('disconnect', () => process.exit());
const [name, serverName, smoke] = process.argv.slice(2) as [string, ServerName, string?];
const server = await startServer(serverName);
const { default: measure } = (await import(`../${name}.ts`)) as { default: Measure };
const rows = await measure.run({ server, smoke: smoke === 'smoke' });
await server.stop();
process.send?.(rows, () => process.exit());
