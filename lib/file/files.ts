import { promises as fs } from 'node:fs';
import { dirname } from 'node:path';
import { codeOf, faultOf, isOfOneName } from './faults.ts';

/** The calls to a file system that the algorithm makes. Each is one step that others see wholly or not at all. */
export interface Files {
  /** The names in a folder. Undefined if there is no folder. */
  list(folder: string): Promise<readonly string[] | undefined>;
  /** The text of a file. Undefined if there is no file. */
  read(path: string): Promise<string | undefined>;
  /** Writes a new file down to the disk. Gives the server's time, in whole milliseconds since the epoch. */
  write(path: string, text: string): Promise<number>;
  /** The time of a file or a folder, as `write` gives it. Undefined if there is none. */
  timeOf(path: string): Promise<number | undefined>;
  /** Makes a folder. Gives the server's time, in whole milliseconds since the epoch. */
  makeFolder(path: string): Promise<number>;
  /** Gives a file a second name. `exists`: the name is taken. `gone`: the file or the folder is no longer there. */
  link(path: string, target: string): Promise<'done' | 'exists' | 'gone'>;
  /** Tells whether a file has a second name. Undefined if the file is gone, so that nobody knows. */
  isLinked(path: string): Promise<boolean | undefined>;
  /** Moves a folder to a path where no folder is, or an empty one. */
  move(path: string, target: string): Promise<'done' | 'exists' | 'gone'>;
  /** Writes a folder's list down to the disk, so that a name that others have seen survives a crash of the server. */
  keep(folder: string): Promise<void>;
  /** Deletes a file, if the file is there. */
  remove(path: string): Promise<void>;
  /** Deletes a folder, if the folder is there and empty. */
  removeFolder(path: string): Promise<void>;
}

const GONE = ['ENOENT', 'ESTALE'];
const TAKEN = ['EEXIST', 'ENOTEMPTY'];
/** Some file systems, and Windows, have no fsync of a folder. */
const NO_SYNC = ['EINVAL', 'EPERM', 'EISDIR', 'EBADF', 'ENOTSUP', 'EOPNOTSUPP'];

/** The files of this host's file systems, local and mounted. */
export const hostFiles: Files = {
  async list(folder) {
    const names = await listed(folder);
    if (names !== undefined) return names;
    // An NFS client remembers for half a minute that a name was absent. Opening the folder above makes the client ask anew.
    await unless([], 'open', dirname(folder), async () => (await fs.open(dirname(folder), 'r')).close());
    return listed(folder);
  },

  read: (path) => unless(GONE, 'read', path, () => fs.readFile(path, 'utf8')),

  write: (path, text) =>
    within(path, 'write', async () => {
      // A new file: emptying a file changes no time on NFS. The server sets the time.
      const file = await fs.open(path, 'wx');
      try {
        await file.writeFile(text);
        await file.sync();
        return Math.floor((await file.stat()).mtimeMs);
      } finally {
        await file.close();
      }
    }),

  timeOf: (path) => unless(GONE, 'read', path, async () => Math.floor((await fs.stat(path)).mtimeMs)),

  makeFolder: (path) =>
    within(path, 'make', async () => {
      await fs.mkdir(path);
      return Math.floor((await fs.stat(path)).mtimeMs);
    }),

  async link(path, target) {
    return outcomeOf('link', target, () => fs.link(path, target));
  },

  async isLinked(path) {
    const links = await unless(GONE, 'read', path, async () => {
      // Opening asks the server. A client may remember the attributes of a name.
      const file = await fs.open(path, 'r');
      try {
        return (await file.stat()).nlink;
      } finally {
        await file.close();
      }
    });
    // A file that is deleted while it is open has no name left.
    return links ? links > 1 : undefined;
  },

  async move(path, target) {
    return outcomeOf('make', target, () => fs.rename(path, target));
  },

  keep: (folder) =>
    unless([...GONE, ...NO_SYNC], 'sync', folder, async () => {
      const opened = await fs.open(folder, 'r');
      await opened.sync().finally(() => opened.close());
    }),

  remove: (path) => unless(GONE, 'delete', path, () => fs.unlink(path)),

  removeFolder: (path) => unless([...GONE, ...TAKEN], 'delete', path, () => fs.rmdir(path)),
};

async function listed(folder: string): Promise<readonly string[] | undefined> {
  try {
    return await fs.readdir(folder);
  } catch (error) {
    if (GONE.includes(codeOf(error))) return undefined;
    // If the folder above can be searched, this name alone is at fault.
    const isThere = isOfOneName(error) && (await fs.lstat(folder).then(Boolean, () => false));
    throw faultOf(error, 'list', folder, isThere);
  }
}

/** Makes a call for a new path. If the folder above is missing, makes that folder first. */
async function within<Result>(path: string, what: string, call: () => Promise<Result>): Promise<Result> {
  const made = await unless(['ENOENT'], what, path, call);
  if (made !== undefined) return made;
  const above = dirname(path);
  await unless(['EEXIST'], 'make', above, () => fs.mkdir(above));
  return must(what, path, call);
}

/** Makes a call. Its error becomes a `LockStoreError` that shows the path. */
async function must<Result>(what: string, path: string, call: () => Promise<Result>): Promise<Result> {
  try {
    return await call();
  } catch (error) {
    throw faultOf(error, what, path);
  }
}

/** Makes a call. Gives undefined if the call fails with one of the codes. */
async function unless<Result>(
  codes: readonly string[],
  what: string,
  path: string,
  call: () => Promise<Result>,
): Promise<Result | undefined> {
  try {
    return await call();
  } catch (error) {
    if (codes.includes(codeOf(error))) return undefined;
    throw faultOf(error, what, path);
  }
}

/** Makes a call that gives a file or a folder a name that may be taken. */
async function outcomeOf(what: string, target: string, call: () => Promise<void>): Promise<'done' | 'exists' | 'gone'> {
  try {
    await call();
    return 'done';
  } catch (error) {
    if (TAKEN.includes(codeOf(error))) return 'exists';
    if (GONE.includes(codeOf(error))) return 'gone';
    throw faultOf(error, what, target);
  }
}
