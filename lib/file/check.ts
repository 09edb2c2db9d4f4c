import { promises as fs, type StatsFs } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { LockStoreError } from '../record/errors.ts';
import { freshId } from '../record/fresh-id.ts';
import type { StoreProblem } from '../record/store.ts';
import { FULL, faultOf, isFull } from './faults.ts';
import type { Files } from './files.ts';
import { FRESH } from './names.ts';

/** The kinds of file systems that are worth a finding, by the number that Linux has for each. */
const KINDS: Readonly<Record<number, readonly [name: string, severity: StoreProblem['severity'], advice: string]>> = {
  20859: ['SMB', 'error', 'it has no hard links that every server keeps: use NFS version 4'],
  4283649346: ['CIFS', 'error', 'it has no hard links that every server keeps: use NFS version 4'],
  4266872130: ['SMB2', 'error', 'it has no hard links that every server keeps: use NFS version 4'],
  19780: ['FAT', 'error', 'it has no hard links: use ext4, XFS or NFS version 4'],
  538032816: ['exFAT', 'error', 'it has no hard links: use ext4, XFS or NFS version 4'],
  2035054128: [
    'overlayfs',
    'warning',
    'it is as a rule the layer of one container: its locks exclude nobody outside, and are gone with the container. Use a volume',
  ],
  16914836: [
    'tmpfs',
    'warning',
    'it is the memory of one machine: its locks exclude nobody on another machine, and are gone after a restart, tokens too',
  ],
  2240043254: [
    'ramfs',
    'warning',
    'it is the memory of one machine: its locks exclude nobody on another machine, and are gone after a restart, tokens too',
  ],
  1702057286: [
    'FUSE',
    'warning',
    'its program decides what a hard link is: use it only if it keeps them for all hosts',
  ],
};
/** The file systems of one machine: ext4, XFS, Btrfs, ZFS. */
const LOCAL = [0xef53, 0x58465342, 0x9123683e, 0x2fc12fc1];
const NFS = 0x6969;

/**
 * Checks the folder of the locks:
 *
 * 1. Write a file and give it a second name, as each write does. Look at the steps of the file's time.
 * 2. Look for free space and free inodes.
 * 3. Look at the kind of the file system, as far as Linux tells.
 */
export async function check(
  files: Files,
  directory: string,
  signal: AbortSignal | undefined,
): Promise<readonly StoreProblem[]> {
  signal?.throwIfAborted();
  const problems: StoreProblem[] = [];
  try {
    if (await isCoarse(files, directory)) problems.push({ severity: 'warning', message: coarse(directory) });
  } catch (error) {
    if (!(error instanceof LockStoreError) || (error.transient && !isFull(error))) throw error;
    return [{ severity: 'error', message: `FileLockStore ${error.message}` }];
  }
  signal?.throwIfAborted();
  const facts = await fs.statfs(directory);
  problems.push(...roomIn(directory, facts));
  if (process.platform === 'linux') problems.push(...(await kindOf(directory, facts)));
  return problems;
}

/**
 * Finds a file system without free space or inodes for users other than root. Root may have a reserve, from which the file of
 * this check was written. A file system that counts no blocks, or no inodes, says 0 of both.
 */
function roomIn(directory: string, { blocks, bavail, files, ffree }: StatsFs): StoreProblem[] {
  const lacks = [...(blocks > 0 && bavail <= 0 ? ['space'] : []), ...(files > 0 && ffree <= 0 ? ['inodes'] : [])];
  if (lacks.length === 0) return [];
  const message = `the file system of '${directory}' has no free ${lacks.join(' and no free ')}: ${FULL}.`;
  return [{ severity: 'error', message }];
}

const coarse = (directory: string): string =>
  `the file system of '${directory}' keeps the times of files in whole seconds: a clock that is wrong by less than a second is not noticed. Use a file system with finer times (ext4 with inodes of 256 bytes, XFS, EFS), or a 'safetyMs' of more than a second.`;

export const isWholeSecond = (date: number): boolean => date % 1_000 === 0;

/** Tells whether the times of files are whole seconds. One time may be whole by chance, and a second one 20 ms later is not. */
async function isCoarse(files: Files, directory: string): Promise<boolean> {
  if (!isWholeSecond(await tryLink(files, directory))) return false;
  await setTimeout(20);
  return isWholeSecond(await tryLink(files, directory));
}

/** As many bytes as the record of a lock may have. A full disk may still take the name of an empty file, or a few bytes. */
const TEXT = 'leasehold\n'.repeat(100);

/** @returns the time of the file. */
async function tryLink(files: Files, directory: string): Promise<number> {
  const path = join(directory, FRESH, freshId());
  const second = `${path}-2`;
  try {
    const date = await files.write(path, TEXT);
    const isLinked = (await files.link(path, second)) === 'done' && (await files.isLinked(path));
    if (!isLinked) throw faultOf({ code: 'ENOTSUP' }, 'link', second);
    return date;
  } finally {
    await files.remove(path).catch(() => {});
    await files.remove(second).catch(() => {});
  }
}

async function kindOf(directory: string, { type }: StatsFs): Promise<StoreProblem[]> {
  // The number of CIFS is negative where it is read as 32 bits with a sign.
  const kind = KINDS[type >>> 0];
  if (kind) {
    const [name, severity, advice] = kind;
    return [{ severity, message: `'${directory}' lies on ${name}: ${advice}.` }];
  }
  if (LOCAL.includes(type >>> 0)) {
    const message = `'${directory}' lies on a local disk: its locks exclude the processes of this machine alone. If other machines are to be excluded, mount NFS version 4 or EFS, and name a folder below the mount point.`;
    return [{ severity: 'warning', message }];
  }
  return type === NFS ? mountOf(directory) : [];
}

/** Looks at the options of an NFS mount. */
async function mountOf(directory: string): Promise<StoreProblem[]> {
  const real = await fs.realpath(directory);
  const mounts = (await fs.readFile('/proc/self/mountinfo', 'utf8').catch(() => '')).split('\n').map((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const point = (before.split(' ')[4] ?? '').replaceAll(/\\(\d{3})/g, (_, octal) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    return { point, options: after.split(' ').slice(2).join(' ').split(',') };
  });
  const above = mounts.filter(({ point }) => real === point || real.startsWith(point === '/' ? '/' : `${point}/`));
  // The longest path is the mount. Of two mounts at one path, the later covers the earlier.
  const mount = above.reduce<(typeof above)[number] | undefined>(
    (best, next) => (best && best.point.length > next.point.length ? best : next),
    undefined,
  );
  const version = mount?.options.find((option) => option.startsWith('vers='))?.slice('vers='.length);
  if (version === undefined || version.startsWith('4')) return [];
  const message = `'${directory}' is mounted by NFS version ${version}: a client of this version may answer from its memory. Mount it with vers=4.1.`;
  return [{ severity: 'warning', message }];
}
