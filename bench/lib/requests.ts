import { subscribe } from 'node:diagnostics_channel';
import type { ClientRequest } from 'node:http';

/** The requests that left this process, whoever sent them. */
const sent = { writes: 0, reads: 0 };

subscribe('http.client.request.start', (message) => {
  const { request } = message as { request: ClientRequest };
  const target = String(request.getHeader('x-amz-target'));
  if (/\.(Update|Put|Delete)Item$/.test(target)) sent.writes++;
  else if (/\.(Batch)?GetItem$/.test(target)) sent.reads++;
});

/** Counts the requests that leave this process during the work. */
export async function requestsOf(work: () => Promise<unknown>): Promise<{ writes: number; reads: number }> {
  const before = { ...sent };
  await work();
  return { writes: sent.writes - before.writes, reads: sent.reads - before.reads };
}
