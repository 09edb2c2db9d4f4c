/** A store that swaps an object on the server. Each reading and each swap has a fate of its own. */
import type { LockStore, ReadOptions, StoreAnswer } from '../../lib/record/store.ts';
import type { Entry } from '../../lib/swap/entry.ts';
import { type KeyPage, type Loaded, type Swapped, SwapStore } from '../../lib/swap/swap-store.ts';
import { broken, carry, type Operation, relayed, type Server, type WriteRequest } from './network.ts';
import type { Host } from './virtual-time.ts';

type Write = Exclude<Operation, 'read'>;

class Objects extends SwapStore<number> {
  /** The requests that are under way, by their signals. */
  readonly asked = new WeakMap<AbortSignal, { readonly operation: Write; readonly request: WriteRequest }>();
  readonly #host: Host;
  readonly #server: Server;
  readonly #relayS: number | undefined;

  constructor(host: Host, server: Server, relayS: number | undefined) {
    super();
    this.#host = host;
    this.#server = server;
    this.#relayS = relayS;
  }

  protected async load(key: string): Promise<Loaded<number>> {
    // The server has one lock.
    if (key !== 'job') return {};
    return carry<Loaded<number>>(this.#server, this.#host, {
      judge: () => ({ ...this.#server.object, ...this.#dated }),
      resent: (answer) => answer,
      conflict: broken,
    });
  }

  protected async swap(
    _key: string,
    entry: Entry,
    seen: number | undefined,
    signal?: AbortSignal,
  ): Promise<Swapped<number>> {
    const { operation, request } = this.asked.get(signal as AbortSignal) ?? {};
    return carry<Swapped<number>>(this.#server, this.#host, {
      judge: () => ({
        version: this.#server.swap(operation as Write, request as WriteRequest, entry, seen),
        ...this.#dated,
      }),
      // The first sending may have been applied, and the second one misses.
      resent: (answer) => ({ ...answer, maybeApplied: true }),
      // Two writes of the object met, and the server refused ours.
      conflict: () => this.#dated,
    });
  }

  protected async keys(): Promise<KeyPage> {
    return { keys: [] };
  }

  get #dated() {
    return relayed({ serverDate: this.#server.date }, this.#relayS);
  }
}

/** The store of one host, whose requests the witness hears of. */
export class ObjectsWire implements LockStore {
  readonly serverDateStepMs: number;
  readonly changes: LockStore['changes'];
  readonly #host: Host;
  readonly #server: Server;
  readonly #store: Objects;

  /** @param relayS the seconds by which the dates of a relay on the way are ahead; undefined without a relay. */
  constructor(host: Host, server: Server, relayS?: number) {
    this.serverDateStepMs = server.dateStepMs;
    this.changes = server.hintsTo(host);
    this.#host = host;
    this.#server = server;
    this.#store = new Objects(host, server, relayS);
  }

  acquire = this.#write('acquire');
  renew = this.#write('renew');
  release = this.#write('release');
  giveBack = this.#write('giveBack');
  resume = this.#write('resume');
  forceRelease = this.#write('forceRelease');
  repair = this.#write('repair');
  commit = this.#write('commit');
  ask = this.#write('ask');
  turn = this.#write('turn');

  async read(key: string, options: ReadOptions, signal?: AbortSignal) {
    const answer = await this.#store.read(key, options, signal);
    if (!signal?.aborted) this.#server.witness.answered(this.#host, answer.record);
    return answer;
  }

  readMany(keys: readonly string[], signal?: AbortSignal) {
    return this.#store.readMany(keys, signal);
  }

  list(prefix: string) {
    return this.#store.list(prefix);
  }

  #write<Name extends Write>(operation: Name) {
    return async (request: Parameters<LockStore[Name]>[0], signal?: AbortSignal): Promise<StoreAnswer> => {
      const { witness } = this.#server;
      const asked = { operation, request: request as unknown as WriteRequest };
      witness.sent(this.#host, operation, asked.request);
      if (signal) this.#store.asked.set(signal, asked);
      const said = await this.#store[operation](request as never, signal);
      // A refusal with the request's own lockId is a grant. Nobody reads an answer that comes after the request was given up.
      const isOurs = said.applied || said.record?.lockId === asked.request.lockId;
      if (!signal?.aborted) witness.answered(this.#host, isOurs ? undefined : said.record);
      return said;
    };
  }
}
