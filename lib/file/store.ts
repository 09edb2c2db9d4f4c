import { isAbsolute, join } from 'node:path';
import { checkDuration, checkNames, checkText, checkThat } from '../record/check.ts';
import { LockStoreError } from '../record/errors.ts';
import { freshId } from '../record/fresh-id.ts';
import type { StoreProblem } from '../record/store.ts';
import { decode, type Entry, encode } from '../swap/entry.ts';
import { type KeyPage, type Loaded, type Swapped, SwapStore } from '../swap/swap-store.ts';
import { check, isWholeSecond } from './check.ts';
import { faultOf, isFull } from './faults.ts';
import { type Files, hostFiles } from './files.ts';
import { FRESH, folderName, keyInName, keyInText, mayStartWith } from './names.ts';
import { dateOf, LEAST_PRUNED_MS, prune, sweep } from './prune.ts';
import { fileOf, load, type Standing, swap } from './versions.ts';

/**
 * The options of a `FileLockStore`.
 * @example
 * ```ts
 * import type { FileLockStoreOptions } from 'leasehold/file';
 *
 * export const options: FileLockStoreOptions = { directory: '/mnt/efs/locks' };
 * ```
 */
export interface FileLockStoreOptions {
  /**
   * The absolute path of the folder of the locks, such as `/mnt/efs/locks`. Make the folder once, below the mount point: if
   * the file system is then not mounted, each call fails. In a folder that is the mount point itself, each host would lock on
   * its own disk. All processes need the rights to read, write and delete there.
   * @default none: required
   */
  readonly directory: string;
}

/** A version that this process saw. */
interface Seen {
  readonly version: number;
  /** The moment by the wall clock. */
  readonly at: number;
  /** The moment by the server's clock, if the server was asked. In a machine that was paused, all own clocks stood still. */
  readonly date: number | undefined;
}

/** Milliseconds for which a version may be replaced unread. A prune counts on it that no writer goes by an older reading. */
const FRESH_MS = 600_000;
const WHOLE_SECOND_MS = 1_000;
const TICK_MS = 20;
const isLong = (from = Number.NaN, to = Number.NaN): boolean => Math.abs(to - from) > FRESH_MS;
/** Milliseconds between two sweeps of what crashed writers have left. */
const SWEEP_MS = 3_600_000;
/** The most leftovers that one request sweeps away. */
const MOST_SWEPT = 100;
/** The keys of one page of a list. */
const PAGE = 100;

/**
 * A store that keeps locks in the files of one file server (Amazon EFS, NFS version 4), or of a local disk for the processes of
 * one machine. The locks are leases, and no `flock`: a server or a network that fails ends no lease early. Each write makes a
 * new file by a hard link, which the server grants to one of several writers. A call to a mount that hangs cannot be
 * cancelled: the request fails in time, and the call keeps one of Node's four file threads until the mount answers.
 * @example
 * ```ts
 * import { LockClient } from 'leasehold';
 * import { FileLockStore } from 'leasehold/file';
 *
 * export const locks = new LockClient({ store: new FileLockStore({ directory: '/mnt/efs/locks' }) });
 * ```
 */
export class FileLockStore extends SwapStore<Seen> {
  /** The folder of the locks. */
  readonly directory: string;
  /** A request makes up to 20 calls, each of some milliseconds. */
  readonly requestTimeoutMs = 5_000;
  /** Node makes four calls to file systems at a time. More requests would only keep a renewal waiting. */
  readonly maxInFlight = 8;
  readonly #files: Files = hostFiles;
  #date: number | undefined;
  #sweptAt = -Infinity;

  /** @throws TypeError that shows the value, if an option is missing, unknown or invalid. */
  constructor(options: FileLockStoreOptions) {
    super();
    checkNames('FileLockStore', options, { directory: 0 } satisfies Record<keyof FileLockStoreOptions, 0>);
    const directory = checkText('directory', options.directory);
    checkThat(
      isAbsolute(directory) && !directory.includes('\0'),
      'directory',
      'an absolute path, such as /mnt/efs/locks',
      directory,
    );
    this.directory = directory;
  }

  /**
   * A file's time is the server's, cut down to a tick of 1 to 10 ms and then to a whole millisecond: 20 ms. Some file systems
   * keep whole seconds (ext3, ext4 with inodes of 128 bytes, HFS+, some FUSE programs): 1,000 ms. The last date tells which. On
   * such a file system, each date is a whole second. On others one date of a thousand is, too: its interval of a second
   * holds the true time as well, and is only longer than need be.
   */
  get serverDateStepMs(): number {
    return isWholeSecond(this.#date ?? 0) ? WHOLE_SECOND_MS : TICK_MS;
  }

  /** Checks the folder: whether it can be written, whether it has hard links, and on which kind of file system it lies. */
  check(signal?: AbortSignal): Promise<readonly StoreProblem[]> {
    return check(this.#files, this.directory, signal);
  }

  /**
   * Deletes the locks that were free, and not written, for `olderThanMs`. A key is then as if it had never been used: its
   * `once` token is forgotten. Locks with committed data stay. For a job that runs now and then: each key keeps a file until
   * then. Locks may be used meanwhile.
   * @example
   * ```ts
   * import type { FileLockStore } from 'leasehold/file';
   *
   * export async function tidy(store: FileLockStore) {
   *   console.log(`${await store.prune({ olderThanMs: 7 * 86_400_000 })} locks were deleted.`);
   * }
   * ```
   * @param options.olderThanMs milliseconds, at least a day (86,400,000).
   * @returns the number of locks that were deleted.
   * @throws LockStoreError if the file system refuses. The locks before stay deleted.
   */
  async prune(options: { readonly olderThanMs: number }, signal?: AbortSignal): Promise<number> {
    checkNames('prune', options, { olderThanMs: 0 });
    const olderThanMs = checkDuration('olderThanMs', options.olderThanMs, LEAST_PRUNED_MS);
    return prune(this.#files, this.directory, olderThanMs, signal);
  }

  protected async load(key: string, { dated }: { dated: boolean }, signal?: AbortSignal): Promise<Loaded<Seen>> {
    signal?.throwIfAborted();
    const folder = this.#folderOf(key);
    const at = Date.now();
    const [standing, serverDate] = await Promise.all([
      load(this.#files, folder, signal),
      dated ? this.#dateIfRoom() : undefined,
    ]);
    this.#date = serverDate ?? this.#date;
    if (standing === undefined) return { serverDate };
    return {
      entry: this.#read(standing, key, folder),
      version: { version: standing.version, at, date: serverDate },
      serverDate,
    };
  }

  protected async swap(
    key: string,
    entry: Entry,
    seen: Seen | undefined,
    signal?: AbortSignal,
  ): Promise<Swapped<Seen>> {
    signal?.throwIfAborted();
    const at = Date.now();
    // A reading that is too old counts as missed: the caller reads again.
    const isStale = (date?: number) => seen && (isLong(seen.at, Date.now()) || isLong(seen.date, date));
    if (isStale()) return {};
    const place = { folder: this.#folderOf(key), fresh: this.#fresh() };
    const mayWrite = (date: number) => {
      signal?.throwIfAborted();
      return !isStale(date);
    };
    const { version, date, maybeApplied } = await swap(this.#files, place, encode(entry), seen?.version, mayWrite);
    this.#date = date ?? this.#date;
    if (date !== undefined) await this.#sweep(date);
    return {
      ...(version !== undefined && { version: { version, at, date } }),
      ...(maybeApplied && { maybeApplied }),
      serverDate: date,
    };
  }

  protected async keys(prefix: string, cursor: unknown, signal?: AbortSignal): Promise<KeyPage> {
    const all = (cursor as readonly string[] | undefined) ?? (await this.#names(prefix));
    const keys: string[] = [];
    for (const name of all.slice(0, PAGE)) {
      signal?.throwIfAborted();
      const key = keyInName(name) ?? (await this.#longKey(name));
      if (key?.startsWith(prefix)) keys.push(key);
    }
    return { keys, ...(all.length > PAGE && { cursor: all.slice(PAGE) }) };
  }

  /** The server's time. On a full disk the server cannot be asked, and a look at a busy lock needs no more than its record. */
  #dateIfRoom(): Promise<number | undefined> {
    return dateOf(this.#files, this.directory).catch((error) => {
      if (isFull(error)) return undefined;
      throw error;
    });
  }

  /** The names of the folders whose keys may start with a prefix. */
  async #names(prefix: string): Promise<string[]> {
    const names = await this.#files.list(this.directory);
    if (names === undefined) throw faultOf({ code: 'ENOENT' }, 'list', this.directory);
    return names.filter((name) => mayStartWith(name, prefix));
  }

  /** Reads a key that is too long for the name of its folder. */
  async #longKey(name: string): Promise<string | undefined> {
    try {
      const standing = await load(this.#files, join(this.directory, name), undefined);
      return standing && keyInText(standing.text, name);
    } catch (error) {
      // Something of somebody else's hides no lock.
      if (error instanceof LockStoreError && error.foreign) return undefined;
      throw error;
    }
  }

  #read({ text, version }: Standing, key: string, folder: string): Entry {
    // The folder goes as a whole: the version before would bring the damaged version's token once more. The token of a new
    // folder starts from the clock.
    return decode(text, key, `the folder '${folder}', whose version is the file ${fileOf(version)},`);
  }

  async #sweep(date: number): Promise<void> {
    if (Math.abs(date - this.#sweptAt) < SWEEP_MS) return;
    this.#sweptAt = date;
    // The write has its answer already. What is left is swept away by another process, or an hour later.
    await sweep(this.#files, this.directory, date, MOST_SWEPT).catch(() => {});
  }

  #folderOf(key: string): string {
    return join(this.directory, folderName(key));
  }

  #fresh(): string {
    return join(this.directory, FRESH, freshId());
  }
}
