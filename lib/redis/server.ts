import { LockStoreError } from '../record/errors.ts';
import { noteFault } from '../record/last-fault.ts';
import type { Connection } from './client.ts';
import { isUnknownScript, storeError } from './faults.ts';
import type { Script } from './scripts.ts';

/** The place of a store's locks: the connection, and the names of the hashes. */
export class Server {
  readonly connection: Connection;
  readonly keyPrefix: string;
  /** A write was done, or judged, here: the server was a primary. If it is a replica now, the client may find the primary. */
  wasPrimary = false;

  constructor(connection: Connection, keyPrefix: string) {
    this.connection = connection;
    this.keyPrefix = keyPrefix;
  }

  /** The name of a lock's hash, and of the channel of its releases. A cluster finds the slot by the text in the braces. */
  hashOf(key: string): string {
    return `${this.keyPrefix}{${key}}`;
  }

  /** The key of a lock, from the name of its hash. Undefined if the name is none. */
  keyIn(hash: string): string | undefined {
    const isHash = hash.startsWith(`${this.keyPrefix}{`) && hash.endsWith('}');
    return isHash ? hash.slice(this.keyPrefix.length + 1, -1) : undefined;
  }

  /**
   * Runs a script on a lock's hash, in one round trip. A server that does not know the script gets its text.
   * @throws LockStoreError
   */
  async run(script: Script, key: string, argv: readonly string[], signal?: AbortSignal): Promise<unknown[]> {
    const hash = this.hashOf(key);
    const send = (...command: string[]) => this.connection.send(hash, [...command, '1', hash, ...argv], signal);
    const request = send('EVALSHA', script.sha1).catch((error) => {
      if (isUnknownScript(error)) return send('EVAL', script.text);
      throw error;
    });
    return (await this.#answer(request, `on '${key}'`, signal)) as unknown[];
  }

  /** Waits for an answer, until the signal aborts. Says so meanwhile if the client only queues the request. */
  async #answer(request: Promise<unknown>, where: string, signal: AbortSignal | undefined): Promise<unknown> {
    const queueing = this.connection.queueing();
    if (queueing !== undefined) noteFault(signal, new LockStoreError(queueing, { transient: true }));
    try {
      return await unlessAborted(request, signal);
    } catch (error) {
      throw storeError(error, where, { wasPrimary: this.wasPrimary });
    }
  }
}

/** Passes a request's end on. If the signal aborts before, rejects with the signal's reason. */
function unlessAborted<T>(request: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return request;
  return new Promise<T>((resolve, reject) => {
    const giveUp = () => reject(signal.reason);
    if (signal.aborted) giveUp();
    signal.addEventListener('abort', giveUp, { once: true });
    request.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp));
  });
}
