import { constants } from 'node:os';
import { LockStoreError } from '../record/errors.ts';

const NAMES = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));

/** The code of an error. Node has no name for some numbers of file systems, such as ESTALE: "Unknown system error -116". */
export function codeOf(error: unknown): string {
  const { code, errno } = (error ?? {}) as { code?: unknown; errno?: unknown };
  const isNamed = typeof code === 'string' && /^E[A-Z0-9]+$/.test(code);
  return isNamed ? code : (typeof errno === 'number' && NAMES.get(-errno)) || String(code ?? '');
}

const NO_LINKS =
  'the file system has no hard links, or none to a file from another folder. Use NFSv4 (EFS), ext4, XFS or another file system that has them';
const RIGHTS = "give this process's user the rights to read, write and delete there";
export const FULL = 'free space or inodes, or raise the quota';
const LATER = 'check the disk, the network and the file server';

/** The advice for a code, and whether the same request may succeed a moment later. Every other code may pass. */
const ADVICE: Readonly<Record<string, readonly [advice: string, transient: boolean]>> = {
  // No `mkdir -p`: on a host where the mount is missing, it would make a folder on the host's own disk.
  ENOENT: [
    "first see that the file system is mounted; then make the folder once with `mkdir`, or mend the option 'directory'",
    false,
  ],
  ENOTDIR: ["a part of the path is a file: mend the option 'directory'", false],
  EISDIR: ['a folder stands where leasehold keeps a file: give leasehold a folder of its own', false],
  ELOOP: ['the symbolic links of the path lead to themselves', false],
  ENAMETOOLONG: ["the path is too long: give a shorter 'directory'", false],
  EACCES: [RIGHTS, false],
  EPERM: [RIGHTS, false],
  EROFS: ['the file system is read-only: mount it for writing', false],
  EXDEV: [NO_LINKS, false],
  ENOTSUP: [NO_LINKS, false],
  EOPNOTSUPP: [NO_LINKS, false],
  ENOSYS: [NO_LINKS, false],
  EMLINK: ["the file system's limit on links or folders is reached: prune old locks, or use another directory", false],
  ENOSPC: [FULL, true],
  EDQUOT: [FULL, true],
  EMFILE: ['this process has too many open files: raise `ulimit -n`', true],
  ENFILE: ['this host has too many open files', true],
};

/** The codes that may be the fault of one name alone: a file in the place of a folder, or a folder that somebody has closed. */
const OF_ONE_NAME = ['ENOTDIR', 'EISDIR', 'EACCES', 'EPERM'];
export const isOfOneName = (error: unknown): boolean => OF_ONE_NAME.includes(codeOf(error));

/** Tells whether a request failed since nothing more can be written. */
export const isFull = (error: unknown): boolean =>
  error instanceof LockStoreError && ['ENOSPC', 'EDQUOT'].includes(codeOf(error.cause));

/**
 * Makes the error of a call to a file system.
 * @param what the verb of the call: `list`, `link`.
 * @param isThere true if the path is known to be there, so that the folder above does not refuse.
 */
export function faultOf(
  error: unknown,
  what: string,
  path: string,
  isThere = what === 'read' || what === 'delete',
): LockStoreError {
  const code = codeOf(error);
  // Linux refuses a link on a file system that has none with EPERM.
  const isLink = what === 'link' && code === 'EPERM';
  const [advice, transient] = isLink ? [NO_LINKS, false] : (ADVICE[code] ?? [LATER, true]);
  return new LockStoreError(`cannot ${what} '${path}' (${code || String(error)}): ${advice}.`, {
    transient,
    // Something of somebody else's in the place of a key's folder or version. It hides no other lock.
    foreign: isThere && isOfOneName(error),
    cause: error,
  });
}
