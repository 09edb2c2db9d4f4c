import type { Server, ServerName } from './servers.ts';
import type { Table } from './table.ts';

/** The sort of run: a whole one, or one of seconds that shows that everything works. */
interface Run {
  readonly server: Server;
  readonly smoke: boolean;
}

/** A file in `bench/` exports one of these by default. Each run of it has a process of its own. */
export interface Measure {
  /** The subject of the measure, for the docs. */
  readonly about: string;
  readonly servers: readonly ServerName[];
  /** Node's options. */
  readonly execArgv?: readonly string[];
  run(run: Run): Promise<Table['rows']>;
}
