#!/usr/bin/env node
/** The operators' command: lists and inspects locks, ends leases, and resets once tokens. */
import { parseArgs } from 'node:util';
import { DynamoDBLockStore } from '../lib/dynamodb/store.ts';
import { LockBusyError, LockClient, type LockState } from '../lib/index.ts';
import { KEY_ATTRIBUTE, LOCK_TABLE_NAME } from '../lib/names.ts';

const USAGE = `Usage: leasehold <command> [options]

  leasehold list [PREFIX]         lists every lock whose key starts with PREFIX (reads the whole table)
  leasehold inspect KEY           shows the record of one lock
  leasehold force-release KEY --lock-id ID [--immediately]
                                  ends the grant ID, as inspect shows it; the lock opens at its expiry, when the holder's
                                  belief has surely ended; with --immediately it opens at once, and two holders may run
                                  at the same time
  leasehold reset-once KEY        forgets the finished once token of a lock that nobody holds: the next token is granted, and
                                  work that was done may be done once more

Options:
  --table NAME       the lock table; default: the environment variable ${LOCK_TABLE_NAME}
  --key-attribute A  the table's partition key; default: ${KEY_ATTRIBUTE}
  --json             prints one JSON object a line
  --help

The AWS SDK finds the credentials and the Region as always (AWS_PROFILE, AWS_REGION, ...).
Exit status: 0 done; 1 not found, or not ended; 2 used wrongly; 3 the table did not answer.`;

class UsageError extends Error {}

const seconds = (ms: number): string => `${Math.ceil(ms / 1000)} s`;

function describe(lock: LockState): string {
  if (lock.flaw !== undefined)
    return `${describe({ ...lock, flaw: undefined })}; somebody has changed the record: ${lock.flaw}`;
  if (lock.held) return `held by ${lock.owner}, for ${seconds(lock.opensInMs)} unless renewed`;
  if (lock.opensInMs > 0) return `closed for ${seconds(lock.opensInMs)}`;
  return lock.lockId === undefined ? 'free' : `free: the lease of ${lock.owner} expired without a release`;
}

async function run(locks: LockClient, [command, key]: string[], options: Options): Promise<number> {
  const print = (lock: LockState) => {
    console.log(options.json ? JSON.stringify(lock) : `${lock.key}  ${describe(lock)}`);
  };
  if (command === 'list') {
    for await (const lock of locks.list(key === undefined ? {} : { prefix: key })) print(lock);
    return 0;
  }
  if (key === undefined) throw new UsageError(`${command} needs the KEY of a lock.`);
  if (command === 'inspect') {
    const lock = await locks.inspect(key);
    if (lock === undefined) {
      console.error(`There is no record of the lock '${key}': it is free.`);
      return 1;
    }
    print(lock);
    if (!options.json) console.log(JSON.stringify(lock, undefined, 2));
    return 0;
  }
  if (command === 'reset-once') return resetOnce(locks, key);
  const lockId = options['lock-id'];
  if (lockId === undefined) throw new UsageError(`force-release needs --lock-id: leasehold inspect ${key} shows it.`);
  const ended = await locks.forceRelease(key, { lockId, immediately: options.immediately ?? false });
  console.log(ended ? `The grant ${lockId} of '${key}' is ended.` : `'${key}' is not held under the grant ${lockId}.`);
  return ended ? 0 : 1;
}

async function resetOnce(locks: LockClient, key: string): Promise<number> {
  const token = (await locks.inspect(key))?.doneToken;
  let wasReset: boolean;
  try {
    wasReset = await locks.resetOnce(key);
  } catch (error) {
    if (!(error instanceof LockBusyError)) throw error;
    console.error(
      `${error.message} Its holder may finish a token at its release: reset the token when the lock is free.`,
    );
    return 1;
  }
  console.log(
    wasReset
      ? `'${key}' was done up to ${token ?? 'an unknown token'}, and is done for no token now.`
      : `'${key}' is done for no token: there is nothing to reset.`,
  );
  return wasReset ? 0 : 1;
}

interface Options {
  table?: string | undefined;
  'key-attribute'?: string | undefined;
  'lock-id'?: string | undefined;
  immediately?: boolean | undefined;
  json?: boolean | undefined;
  help?: boolean | undefined;
}

function parse(): { values: Options; positionals: string[] } {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        table: { type: 'string' },
        'key-attribute': { type: 'string' },
        'lock-id': { type: 'string' },
        immediately: { type: 'boolean' },
        json: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

async function main(): Promise<number> {
  const { values, positionals } = parse();
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const [command] = positionals;
  if (command === undefined || !['list', 'inspect', 'force-release', 'reset-once'].includes(command)) {
    throw new UsageError(command === undefined ? 'A command is missing.' : `There is no command '${command}'.`);
  }
  if (positionals.length > 2) throw new UsageError(`${command} takes one argument, but got ${positionals.length - 1}.`);
  const store = new DynamoDBLockStore({ tableName: values.table, keyAttribute: values['key-attribute'] });
  return run(new LockClient({ store }), positionals, values);
}

function explain(error: unknown): number {
  const wrong = error instanceof UsageError || error instanceof TypeError;
  console.error(`leasehold: ${(error as Error).message}`);
  if (wrong) console.error('leasehold --help shows the commands and options.');
  return wrong ? 2 : 3;
}

// No `await`: the CommonJS build has none at the top level.
void main()
  .catch(explain)
  .then((status) => {
    process.exitCode = status;
  });
