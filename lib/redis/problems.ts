import type { StoreProblem } from '../record/store.ts';
import type { Send } from './client.ts';

const EVICTS =
  'evicts records when its memory is full, and an evicted record is a lock that is given twice. Set maxmemory-policy to noeviction.';

/** Says why a server with another eviction policy than `noeviction` is no place for locks. */
export const evicts = (policy: string): string => `its maxmemory-policy is ${policy}: the server ${EVICTS}`;

/** Says why a replica is no place for locks. */
export const REPLICA =
  'it is a replica, which takes no writes and may be behind: connect to the primary (its endpoint, a Sentinel or the cluster).';

/** Asks one server about itself, and gives the findings. */
export async function problemsOf(
  send: Send,
  { guardFailover, signal }: { guardFailover: boolean; signal: AbortSignal | undefined },
): Promise<StoreProblem[]> {
  const sections = ['memory', 'replication', 'persistence'];
  const answers = await Promise.all(sections.map((section) => send(['INFO', section], signal)));
  const info = answers.map(String).join('\n');
  const value = (name: string) => new RegExp(`^${name}:([^\r\n]*)`, 'm').exec(info)?.[1];
  const problems: StoreProblem[] = [];
  const found = (severity: StoreProblem['severity'], message: string) => problems.push({ severity, message });

  const policy = value('maxmemory_policy');
  if (policy === undefined)
    found('warning', 'The server does not tell its maxmemory-policy. See that it is noeviction.');
  else if (policy !== 'noeviction') found('error', `The server is no place for locks: ${evicts(policy)}`);
  if (value('role') === 'slave') found('error', `The server is no place for locks: ${REPLICA}`);
  const replicas = Number(value('connected_slaves') ?? 0);
  if (replicas > 0 && !guardFailover) {
    found(
      'warning',
      `The server has ${replicas} ${replicas === 1 ? 'replica' : 'replicas'}. Unless its writes are durable before they are answered (MemoryDB, ElastiCache for Valkey with synchronous writes), a failover may lose a grant, and two holders run at once. Set guardFailover: true to narrow this.`,
    );
  }
  const hasLog = value('aof_enabled') !== '0';
  const [save, fsync] = await Promise.all(['save', 'appendfsync'].map((name) => setting(send, name, signal)));
  // A primary that starts again without its data empties its replicas, too.
  if (!hasLog && (replicas === 0 || (guardFailover && save === ''))) {
    found(
      'warning',
      'The server keeps no log of its writes: a restart forgets the locks, also the ones that are held. Set appendonly yes and appendfsync always, or see that no holder outlives a restart.',
    );
  }
  if (hasLog && fsync === 'no') {
    found(
      'warning',
      'Its appendfsync is no: a crash of the machine forgets the writes of about 30 seconds, also locks that are held. Set appendfsync always.',
    );
  }
  return problems;
}

/** Reads a setting. Undefined if the server does not tell: ElastiCache has no CONFIG, and the user of the docs may not ask. */
async function setting(send: Send, name: string, signal: AbortSignal | undefined): Promise<string | undefined> {
  const answer = await send(['CONFIG', 'GET', name], signal).catch(() => undefined);
  // A map, as the library gives it: an array of the name and the value, a `Map`, an object, or GLIDE's array of entries.
  const [first, second] = Array.isArray(answer) ? answer : [];
  const maps = { ...(answer instanceof Map ? Object.fromEntries(answer) : (answer as object | undefined)) };
  const value = second ?? first?.value ?? (maps as Readonly<Record<string, unknown>>)[name];
  return value === undefined ? undefined : String(value);
}
