/**
 * A store between a client and another store. It loses, delays and repeats chosen requests, as a network can. It logs
 * every request, so that a test can count the requests. Its timers keep no process alive.
 */
import type { Clock } from '../../lib/lease/clock.ts';
import { LockStoreError } from '../../lib/record/errors.ts';
import type { LockRecord } from '../../lib/record/record.ts';
import type { ListAnswer, LockStore, ReadAnswer, ReadManyAnswer, StoreAnswer } from '../../lib/record/store.ts';

export type Operation = Exclude<
  keyof LockStore,
  'onEvent' | 'maxInFlight' | 'connection' | 'serverDateStepMs' | 'requestTimeoutMs' | 'changes' | 'check'
>;

export type Fault =
  /** The connection breaks before the request reaches the store. */
  | { do: 'loseRequest' }
  /** The store does the request, and the connection breaks before the answer. */
  | { do: 'loseAnswer' }
  /** The request reaches the store `ms` later, even if the client has given up by then. */
  | { do: 'delayRequest'; ms: number }
  /** The store does the request at once, and answers `ms` later. */
  | { do: 'delayAnswer'; ms: number }
  /** The request takes `there` ms to the store, and the answer `back` ms to the client. */
  | { do: 'travel'; there: number; back: number }
  /** The store does the request, answers, and gets the request again `ms` later. */
  | { do: 'duplicate'; ms: number }
  /**
   * A proxy sends the request again after `ms`, and passes on the second answer alone. The client counts one request.
   */
  | { do: 'twice'; ms: number }
  /** The request does not reach the store, and no answer comes. */
  | { do: 'hang' }
  /** The store does the request, and no answer comes. */
  | { do: 'hangAnswer' }
  /** The request does not reach the store, and the client gets the error. */
  | { do: 'fail'; error: unknown }
  /** `act` happens before the request reaches the store, at the same moment. */
  | { do: 'first'; act: () => unknown }
  /** `act` happens between the store's answer and its arrival. */
  | { do: 'then'; act: () => unknown };

export type Rule = Fault & {
  /**
   * The operation of the requests.
   * @default any
   */
  operation?: Operation;
  /**
   * The number of matching requests that pass first.
   * @default 0
   */
  after?: number;
  /**
   * The number of matching requests that the rule applies to. Infinity for all.
   * @default 1
   */
  times?: number;
};

interface LoggedRequest {
  readonly operation: Operation;
  // biome-ignore lint/suspicious/noExplicitAny: each operation has a request of its own, and a test knows which.
  readonly request: any;
  /** The moment of sending, by the script's clock. */
  readonly at: number;
}

export class ScriptedStore implements LockStore {
  /** The other store. Replace it to let every record vanish. */
  inner: LockStore;
  maxInFlight: number | undefined;
  /** The lag of eventually consistent reads. */
  lagMs = 0;
  /**
   * Chooses the fault of a request to which no rule applies.
   * @default none
   */
  script: ((operation: Operation, request: LoggedRequest['request']) => Fault | undefined) | undefined;
  /** Every request, in the order of sending. */
  requests: LoggedRequest[] = [];
  /** The store calls this function for every write that the inner store has judged. */
  onJudged: ((operation: Operation, request: LoggedRequest['request'], answer: StoreAnswer) => void) | undefined;
  readonly #clock: Clock;
  readonly #rules: { rule: Rule; skip: number; left: number }[] = [];
  readonly #versions = new Map<string, { since: number; record: LockRecord | undefined }[]>();

  constructor(inner: LockStore, clock: Clock) {
    this.inner = inner;
    this.#clock = clock;
  }

  /** Adds rules. To a request applies the first rule that matches the request and is not used up. */
  plan(...rules: Rule[]): void {
    for (const rule of rules) this.#rules.push({ rule, skip: rule.after ?? 0, left: rule.times ?? 1 });
  }

  /** Forgets the rules. */
  heal(): void {
    this.#rules.length = 0;
  }

  /** The operation of every request, in the order of sending. */
  get operations(): Operation[] {
    return this.requests.map(({ operation }) => operation);
  }

  /** Counts the requests of these operations. Without an operation: all requests. */
  count(...operations: Operation[]): number {
    return this.operations.filter((operation) => operations.length === 0 || operations.includes(operation)).length;
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

  read(key: string, options: { readonly consistent: boolean }): Promise<ReadAnswer> {
    return this.#send('read', { key, ...options }, async () => {
      const answer = await this.inner.read(key, options);
      if (options.consistent || this.lagMs === 0) return answer;
      const until = this.#clock.now() - this.lagMs;
      const version = this.#versions.get(key)?.findLast(({ since }) => since <= until);
      return { ...answer, record: version?.record };
    });
  }

  readMany(keys: readonly string[]): Promise<ReadManyAnswer> {
    return this.#send('readMany', { keys }, () => this.inner.readMany(keys));
  }

  list(prefix: string, cursor?: unknown): Promise<ListAnswer> {
    return this.#send('list', { prefix, cursor }, () => this.inner.list(prefix, cursor));
  }

  #write<Name extends Exclude<Operation, 'read' | 'readMany' | 'list'>>(operation: Name) {
    return (request: Parameters<LockStore[Name]>[0]): Promise<StoreAnswer> =>
      this.#send(operation, request, async () => {
        const answer = await this.inner[operation](request as never);
        this.#keep(request.key, answer);
        this.onJudged?.(operation, request, answer);
        return answer;
      });
  }

  #keep(key: string, { applied, record }: StoreAnswer): void {
    if (!applied) return;
    const versions = this.#versions.get(key) ?? [];
    this.#versions.set(key, versions);
    versions.push({ since: this.#clock.now(), record });
  }

  async #send<Answer>(operation: Operation, request: unknown, deliver: () => Promise<Answer>): Promise<Answer> {
    this.requests.push({ operation, request, at: this.#clock.now() });
    const fault = this.#faultFor(operation, request);
    switch (fault?.do) {
      case 'loseRequest':
        throw new LockStoreError('The connection broke.', { transient: true });
      case 'loseAnswer':
        await deliver();
        throw new LockStoreError('The connection broke.', { transient: true });
      case 'delayRequest':
        await this.#sleep(fault.ms);
        return deliver();
      case 'delayAnswer': {
        const answer = await deliver();
        await this.#sleep(fault.ms);
        return answer;
      }
      case 'travel': {
        await this.#sleep(fault.there);
        const answer = await deliver();
        await this.#sleep(fault.back);
        return answer;
      }
      case 'duplicate': {
        const answer = await deliver();
        void this.#sleep(fault.ms).then(deliver);
        return answer;
      }
      case 'twice':
        await deliver();
        await this.#sleep(fault.ms);
        return deliver();
      case 'hang':
        return new Promise(() => {});
      case 'hangAnswer':
        await deliver();
        return new Promise(() => {});
      case 'fail':
        throw fault.error;
      case 'first':
        await fault.act();
        return deliver();
      case 'then': {
        const answer = await deliver();
        await fault.act();
        return answer;
      }
      default:
        return deliver();
    }
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#clock.setTimeout(resolve, ms);
      (timer as { unref?: () => void }).unref?.();
    });
  }

  #faultFor(operation: Operation, request: unknown): Fault | undefined {
    for (const planned of this.#rules) {
      if (planned.left <= 0 || operation !== (planned.rule.operation ?? operation)) continue;
      if (planned.skip > 0) {
        planned.skip--;
        continue;
      }
      planned.left--;
      return planned.rule;
    }
    return this.script?.(operation, request);
  }
}
