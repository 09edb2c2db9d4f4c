#!/usr/bin/env node
/** The operators' command: lists, inspects and repairs locks, ends leases, and resets once tokens. */
import { realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';
import { LockBusyError, LockClient, type LockState, LockStoreError } from '../lib/index.ts';
import { printable, show } from '../lib/record/check.ts';
import { isBroken } from '../lib/record/record.ts';
import type { OpenStore } from './open-store.ts';
import { openPlace, UsageError } from './place.ts';
import { USAGE } from './usage.ts';

/** The most days that prune takes: a century. */
const MOST_DAYS = 36_500;

/** Prints one line. Others choose keys, owners and data, and must not rule the operator's terminal. */
const print = (line: string) => console.log(printable(line));
const warn = (line: string) => console.error(printable(line));

/** A damaged record may have a number that is no moment. */
const shownTime = (ms: number): string => {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? String(ms) : date.toISOString();
};

/** `list, inspect and check` */
const listed = (names: readonly string[]) => new Intl.ListFormat('en-GB').format(names);

const inTime = (ms: number): string => {
  const seconds = Math.ceil(ms / 1000);
  const date = new Date(Date.now() + ms);
  return seconds < 3600 || Number.isNaN(date.getTime()) ? `${seconds} s` : `${seconds} s (until ${date.toISOString()})`;
};

function describe(lock: LockState): string {
  if (lock.flaw !== undefined)
    return `${describe({ ...lock, flaw: undefined })}; somebody has changed the record: ${lock.flaw}`;
  if (lock.owed) return `${describe({ ...lock, owed: false })}; a run is owed`;
  if (lock.held) return `held by ${lock.owner}, for ${inTime(lock.opensInMs)} unless renewed`;
  if (lock.opensInMs > 0) return `closed for ${inTime(lock.opensInMs)}`;
  return lock.lockId === undefined ? 'free' : `free: the lease of ${lock.owner} expired without a release`;
}

/** Says how the lock of a key stands, after a command has changed the lock. Returns the lock's state. */
async function tell(locks: LockClient, key: string, done: string): Promise<LockState | undefined> {
  const lock = await locks.inspect(key);
  print(`${done} ${show(key)} is ${lock === undefined ? 'free' : describe(lock)}.`);
  return lock;
}

async function list(locks: LockClient, prefix: string | undefined, { json }: Options): Promise<number> {
  for await (const lock of locks.list(prefix === undefined ? {} : { prefix })) {
    print(json ? JSON.stringify(lock) : `${lock.key}  ${describe(lock)}`);
  }
  return 0;
}

async function inspect(locks: LockClient, key: string, { json }: Options, { within }: OpenStore): Promise<number> {
  const lock = await locks.inspect(key);
  if (lock === undefined) return missing(key, within);
  print(json ? JSON.stringify(lock) : `${lock.key}  ${describe(lock)}`);
  if (!json) print(`acquired at ${shownTime(lock.acquiredAt)}; expires at ${shownTime(lock.expiresAt)}`);
  // JSON has no line break inside of a text. So each line is printed by itself.
  if (!json) for (const line of JSON.stringify(lock, undefined, 2).split('\n')) print(line);
  return 0;
}

function missing(key: string, within: string | undefined): number {
  warn(`There is no record of the lock ${show(key)}${within === undefined ? '' : ` under ${within}`}: it is free.`);
  return 1;
}

async function forceRelease(locks: LockClient, key: string, options: Options): Promise<number> {
  const lockId = options['lock-id'];
  if (lockId === undefined) throw new UsageError(`force-release needs --lock-id: leasehold inspect ${key} shows it.`);
  if (await locks.forceRelease(key, { lockId, immediately: options.immediately ?? false })) {
    const lock = await tell(locks, key, `The grant ${lockId} of ${show(key)} is ended.`);
    if (lock !== undefined && lock.opensInMs > 0) {
      warn('Until the lock opens, its holder may still work: repair the lock before then only if the holder is dead.');
    }
    return 0;
  }
  print(`${show(key)} is not held under the grant ${lockId}.`);
  const lock = await locks.inspect(key);
  if (lock && lock.lockId === undefined && lock.opensInMs > 0) {
    print(`Nobody holds the lock, which is ${describe(lock)}: leasehold repair opens it.`);
  }
  return 1;
}

async function repair(locks: LockClient, key: string, options: Options, { within }: OpenStore): Promise<number> {
  const { token, immediately } = options;
  const fencingToken = token === undefined ? undefined : Number(token || Number.NaN);
  let seen: LockState | undefined;
  try {
    seen = await locks.inspect(key);
    if (seen === undefined) return missing(key, within);
  } catch (error) {
    // A record whose token or expiry is no number cannot be shown.
    if (!(error instanceof LockStoreError && error.foreign)) throw error;
    warn(error.message);
  }
  if (seen?.lockId !== undefined && !isBroken(seen)) {
    warn(`${show(key)} has the grant ${seen.lockId} of ${seen.owner}: end it first, by leasehold force-release.`);
    return 1;
  }
  if (immediately) {
    warn(
      `If a holder of ${show(key)} still runs, there may be two holders until its lease ends: be sure that it is dead.`,
    );
  }
  if (!(await locks.repair(key, { seen, fencingToken, immediately }))) {
    warn(`${show(key)} has changed meanwhile, or is no record of leasehold's: look at it again.`);
    return 1;
  }
  await tell(locks, key, `The record of ${show(key)} is repaired.`);
  return 0;
}

async function resetOnce(locks: LockClient, key: string): Promise<number> {
  const token = (await locks.inspect(key))?.doneToken;
  let wasReset: boolean;
  try {
    wasReset = await locks.resetOnce(key);
  } catch (error) {
    if (!(error instanceof LockBusyError)) throw error;
    warn(`${error.message} Its holder may finish a token at its release: reset the token when the lock is free.`);
    return 1;
  }
  print(
    wasReset
      ? `${show(key)} was done up to ${token ?? 'an unknown token'}, and is done for no token now.`
      : `${show(key)} is done for no token: there is nothing to reset.`,
  );
  return wasReset ? 0 : 1;
}

async function check(locks: LockClient, _key: string, { json }: Options): Promise<number> {
  const problems = await locks.check();
  for (const problem of problems) print(json ? JSON.stringify(problem) : `${problem.severity}: ${problem.message}`);
  if (problems.length === 0 && !json) print('Nothing is wrong with the place of the locks.');
  return problems.some(({ severity }) => severity === 'error') ? 1 : 0;
}

async function prune(_locks: LockClient, _key: string, options: Options, { store }: OpenStore): Promise<number> {
  const { FileLockStore } = await import('../lib/file.ts');
  if (!(store instanceof FileLockStore)) {
    throw new UsageError(
      'prune deletes locks in files alone: give --store file:/PATH. Elsewhere the place deletes old locks.',
    );
  }
  const days = Number(options['older-than'] || Number.NaN);
  if (!(days >= 1 && days <= MOST_DAYS)) {
    const given = options['older-than'] === undefined ? 'it is missing' : `it is ${show(options['older-than'])}`;
    throw new UsageError(`--older-than must be a number of days from 1 to ${MOST_DAYS}, but ${given}.`);
  }
  const pruned = await store.prune({ olderThanMs: Math.round(days * 86_400_000) });
  print(`${pruned} ${pruned === 1 ? 'lock was' : 'locks were'} deleted.`);
  return 0;
}

const COMMANDS = {
  list,
  inspect,
  'force-release': forceRelease,
  repair,
  'reset-once': resetOnce,
  prune,
  check,
} as const;
/** The number of arguments that a command takes, at the least and at the most. The others take one. */
const ARGUMENTS: Readonly<Record<string, readonly [number, number]>> = { list: [0, 1], prune: [0, 0], check: [0, 0] };

/** The commands that take an option. Every command takes the others. */
const ONLY_WITH: Readonly<Record<string, readonly string[]>> = {
  'lock-id': ['force-release'],
  immediately: ['force-release', 'repair'],
  token: ['repair'],
  'older-than': ['prune'],
  json: ['list', 'inspect', 'check'],
};

const OPTIONS = {
  store: { type: 'string' },
  table: { type: 'string' },
  'key-attribute': { type: 'string' },
  'sort-key': { type: 'string' },
  'ttl-attribute': { type: 'string' },
  'retention-days': { type: 'string' },
  'lock-id': { type: 'string' },
  immediately: { type: 'boolean' },
  token: { type: 'string' },
  'older-than': { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean' },
  version: { type: 'boolean' },
} as const;
type Options = ReturnType<typeof parse>['values'];

function parse() {
  try {
    return parseArgs({ allowPositionals: true, options: OPTIONS });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

async function main(): Promise<number> {
  const { values, positionals } = parse();
  const [command, ...args] = positionals;
  if (values.help || command === 'help') {
    console.log(USAGE);
    return 0;
  }
  if (values.version) {
    // The CommonJS build has no import of JSON.
    console.log(createRequire(realpathSync(process.argv[1] as string))('leasehold/package.json').version);
    return 0;
  }
  if (command === undefined) throw new UsageError('A command is missing.');
  if (!Object.hasOwn(COMMANDS, command)) throw new UsageError(`There is no command ${show(command)}.`);
  const [least, most] = ARGUMENTS[command] ?? [1, 1];
  if (args.length > most) {
    throw new UsageError(`${command} takes ${most === 0 ? 'no' : 'one'} argument, but got ${args.length}.`);
  }
  if (args.length < least) throw new UsageError(`${command} needs the KEY of a lock.`);
  const stray = Object.keys(values).find((name) => !(ONLY_WITH[name]?.includes(command) ?? true));
  if (stray !== undefined) {
    throw new UsageError(`${command} takes no --${stray}, which is an option of ${listed(ONLY_WITH[stray] ?? [])}.`);
  }
  const run = COMMANDS[command as keyof typeof COMMANDS];
  const place = await openPlace(values);
  try {
    return await run(new LockClient({ store: place.store }), args[0] as string, values, place);
  } finally {
    place.close();
  }
}

function explain(error: unknown): number {
  const wrong = error instanceof UsageError || error instanceof TypeError;
  warn(`leasehold: ${(error as Error).message}`);
  if (wrong) warn('leasehold --help shows the commands and options.');
  return wrong ? 2 : 3;
}

// No `await`: the CommonJS build has none at the top level.
void main()
  .catch(explain)
  .then((status) => {
    process.exitCode = status;
  });
