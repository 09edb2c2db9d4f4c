// The types of the packages that docs/coming-from.md uses and that are not installed here, as far as the page needs them.

declare module 'redlock' {
  import type { EventEmitter } from 'node:events';
  import type { Redis } from 'ioredis';

  export default class Redlock extends EventEmitter {
    constructor(clients: Iterable<Redis>);
    using<T>(resources: string[], duration: number, routine: (signal: AbortSignal) => Promise<T>): Promise<T>;
  }
}

declare module 'aws-sdk' {
  const AWS: { readonly DynamoDB: { readonly DocumentClient: new () => object } };
  export default AWS;
}

declare module 'dynamodb-lock-client' {
  import type { EventEmitter } from 'node:events';

  export interface Lock extends EventEmitter {
    release(callback: (error: Error) => void): void;
  }
  export class FailOpen<Key extends string | number> {
    constructor(config: {
      dynamodb: object;
      lockTable: string;
      partitionKey: string;
      heartbeatPeriodMs?: number;
      leaseDurationMs: number;
    });
    acquireLock(id: Key, callback: (error: Error, lock: Lock) => void): void;
  }
}
