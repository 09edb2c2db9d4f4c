import { show } from '../record/check.ts';
import { LockStoreError, type LockStoreErrorOptions } from '../record/errors.ts';
import { evicts, REPLICA } from './problems.ts';

/** The parts of a client's error that tell its kind. Each library has names of its own. */
interface Thrown {
  readonly name?: string;
  readonly message?: string;
}

/** The server does not know the script yet. GLIDE has words of its own for it. */
export const isUnknownScript = (error: unknown): boolean =>
  /NOSCRIPT|NoScriptError/.test((error as Thrown | undefined)?.message ?? '');

/** The server's words for a state that passes: it starts, it runs a script, a cluster moves its slots or has no primary. */
const PASSING =
  /\b(LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|NOREPLICAS|UNBLOCKED)\b|BusyLoading|ClusterDown/;

/** The server is a replica. GLIDE has words of its own. */
const READ_ONLY = /READONLY|ReadOnly/;

/** The refusals that last, and the thing to do. The words are those of the server, or those that GLIDE puts in their place. */
const LASTING: readonly (readonly [RegExp, string])[] = [
  [
    READ_ONLY,
    'the server is a replica, which takes no writes: connect to the primary (its endpoint, a Sentinel or the cluster).',
  ],
  [
    /NOPERM|no permissions|PermissionDenied/i,
    'the user may not do this: grant the commands, keys and channels that docs/redis.md lists.',
  ],
  [/NOAUTH|WRONGPASS|AuthenticationFailed|Authentication required/i, "set the client's user name and password."],
  [/\bOOM\b|OutOfMemory/, 'the server is out of memory: raise its maxmemory, or delete data.'],
  [/MISCONF/, 'the server cannot save its data to disk, and takes no writes: mend its disk.'],
  [/CROSSSLOT/i, "give every key the lock's hash tag: {key}."],
  [
    /unknown command|UnknownCommand/i,
    'the server lacks a command that leasehold needs: use Redis 6.2 or Valkey 7.2, or later.',
  ],
  [
    /client is closed|ClosingError/i,
    'connect the client before its first use (await client.connect()), and close it last.',
  ],
];

/** The names that the libraries give to an answer of the server that is an error, and GLIDE's words for such an answer. */
const ANSWERED = /^(ReplyError|ErrorReply|SimpleError|BlobError)$|signalled by the server/;

/**
 * Makes the store's error of an error that a client threw: it tells whether the fault may pass, and what to do.
 * @param wasPrimary the server that is a replica now was the primary before: a failover, after which the client may find the
 *   new primary.
 */
export function storeError(cause: unknown, where: string, { wasPrimary = false } = {}): LockStoreError {
  const thrown = (cause ?? {}) as Thrown;
  const { message = String(cause) } = thrown;
  const advice = LASTING.find(([words]) => words.test(message) || words.test(thrown.name ?? ''))?.[1];
  const text = `Redis did not do the request ${where}: ${advice === undefined ? '' : `${advice} `}${message}`;
  const isAnswer = [thrown.name ?? '', cause?.constructor?.name ?? '', message].some((words) => ANSWERED.test(words));
  const isFailover = wasPrimary && READ_ONLY.test(message);
  const isLasting = !isFailover && (advice !== undefined || (isAnswer && !PASSING.test(message)));
  return new LockStoreError(text, { cause, transient: !isLasting });
}

/** Makes the error of an answer that is neither a grant nor a refusal. */
export function faultOf(status: string, detail: string, hash: string, options: LockStoreErrorOptions): LockStoreError {
  if (status === 'unread') return foreignError(hash, `it cannot be read as a hash: ${detail}`, options);
  const why: Record<string, string> = {
    evicts: `${evicts(detail)} Nothing was written.`,
    replica: REPLICA,
    blind:
      'guardFailover needs the INFO of the server, which a script may not ask for here: allow INFO to the user (+info), or leave guardFailover out.',
  };
  const text = why[status] ?? `it answered ${show(status)}.`;
  return new LockStoreError(`The server is no place for locks: ${text}`, options);
}

/**
 * Makes the error for a key under which something else stands. The message shows none of its values.
 * @param hint the thing to do. Without one, the key is most likely another program's.
 */
export const foreignError = (
  hash: string,
  why: string,
  options: LockStoreErrorOptions,
  hint = `Use another key or prefix, or, if nobody needs what stands there, delete it: DEL '${hash}'`,
): LockStoreError =>
  new LockStoreError(
    `the hash '${hash}' was not written by leasehold, or was changed, and is left as it is: ${why}. ${hint}.`,
    { ...options, foreign: true },
  );
