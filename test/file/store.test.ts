import { promises as fs, mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { faultOf } from '../../lib/file/faults.ts';
import { hostFiles } from '../../lib/file/files.ts';
import { FileLockStore } from '../../lib/file.ts';
import { LockClient } from '../../lib/lease/client.ts';
import type { Lease } from '../../lib/lease/lease.ts';
import type { LockStoreError } from '../../lib/record/errors.ts';

const root = mkdtempSync(join(tmpdir(), 'leasehold-'));
afterAll(() => rmSync(root, { recursive: true }));
// A busy machine needs more time than Jest's default.
jest.setTimeout(30_000);

/** The clients of a test. A renewal of an earlier test would take the answers that a test plans. */
const clients: LockClient[] = [];
const clientOf = (store: FileLockStore): LockClient => {
  const client = new LockClient({ store });
  clients.push(client);
  return client;
};
afterEach(async () => {
  jest.restoreAllMocks();
  await Promise.all(clients.splice(0).map((client) => client.close({ graceMs: 0 })));
});

const DAY = 86_400_000;
let directory: string;
let store: FileLockStore;
let locks: LockClient;
beforeEach(async () => {
  directory = await fs.mkdtemp(join(root, 'locks-'));
  store = new FileLockStore({ directory });
  locks = clientOf(store);
});

/** The files below a folder, by their paths in it. */
const filesIn = async (folder: string): Promise<string[]> =>
  (await fs.readdir(folder, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
const errorOf = (promise: Promise<unknown>): Promise<LockStoreError> =>
  promise.then(
    () => Promise.reject(new Error('There was no error.')),
    (error) => error,
  ) as never;
const refuse = (name: 'link' | 'open' | 'readdir' | 'rename', code: string) =>
  jest.spyOn(fs, name).mockRejectedValueOnce(Object.assign(new Error(`${code}: refused`), { code }) as never);
const age = async (path: string, ms: number) => {
  const date = new Date(Date.now() - ms);
  await fs.utimes(path, date, date);
};

describe('The option directory of FileLockStore', () => {
  test.each([
    [undefined, 'directory must be a string, but it is undefined'],
    ['', 'directory must not be empty'],
    ['locks', "directory must be an absolute path, such as /mnt/efs/locks, but it is 'locks'"],
    ['/locks\0', 'directory must be an absolute path'],
  ])('must not be %j', (value, message) => {
    expect(() => new FileLockStore({ directory: value as string })).toThrow(message);
  });

  test('has no other name', () => {
    expect(() => new FileLockStore({ folder: '/locks' } as never)).toThrow('it has directory');
  });
});

describe('The files of FileLockStore', () => {
  test('are one or two for each key, however often the lock is taken', async () => {
    for (let i = 0; i < 5; i++) await locks.using('report/daily', async (lease) => void (await lease.renew()));
    const files = await filesIn(directory);
    expect(files.length).toBeLessThanOrEqual(2);
    expect(files.every((file) => /^report\+daily\/\d{16}$/.test(file))).toBe(true);
  });

  test.each([
    ['.', '.'],
    ['..', '..'],
    ['/', '/'],
    ['//', '//'],
    ['a/', 'a/'],
    ['/a', '/a'],
    ['a+b', 'a+b'],
    ['~new', '~new'],
    ['%2f', '%2f'],
    ['512 times é', 'é'.repeat(512)],
    ['1,024 slashes', '/'.repeat(1024)],
    ['1,024 times x', 'x'.repeat(1024)],
  ])('of the key %s are apart from all others', async (_, key) => {
    const near = [`${key}x`, `y${key}`].map((other) => (other.length > 500 ? other.replace(key, key.slice(2)) : other));
    const others = ['a', 'A', 'a/b', ...near].filter((other) => other !== key);
    for (const other of others) await locks.acquire(other);
    const { fencingToken } = await locks.acquire(key);
    expect((await locks.inspect(key))?.fencingToken).toBe(fencingToken);
    for await (const { key: listed } of locks.list({ prefix: key })) {
      expect([key, ...others].filter((other) => other.startsWith(key))).toContain(listed);
    }
    expect((await Array.fromAsync(locks.list({ prefix: key.slice(0, 400) }))).map((lock) => lock.key)).toContain(key);
    expect(await filesIn(join(root))).toEqual(expect.arrayContaining([]));
  });

  test('of somebody else in the folder hide no lock', async () => {
    await locks.acquire('job');
    await fs.writeFile(join(directory, 'readme'), 'hello');
    await fs.mkdir(join(directory, 'empty'));
    await fs.mkdir(join(directory, 'foreign'));
    await fs.writeFile(join(directory, 'foreign', '0000000000000001'), 'hello');
    await fs.writeFile(join(directory, 'job', 'notes.txt'), 'hello');
    expect((await Array.fromAsync(locks.list())).map(({ key }) => key)).toEqual(['job']);
    expect(await store.prune({ olderThanMs: DAY })).toBe(0);
    expect(await filesIn(directory)).toHaveLength(4);
    const error = await errorOf(locks.acquire('foreign'));
    expect(error).toMatchObject({
      foreign: true,
      message: expect.stringContaining(`'${directory}/foreign', whose version is the file 0000000000000001`),
    });
    expect(await errorOf(locks.acquire('readme'))).toMatchObject({ foreign: true });
  });
});

test('A key whose folder has only files of somebody else names one of them, and what to do', async () => {
  await fs.mkdir(join(directory, 'job'));
  await fs.writeFile(join(directory, 'job', 'notes.txt'), '');
  const error = await errorOf(locks.tryAcquire('job'));
  expect(error).toMatchObject({ foreign: true, transient: false });
  expect(error.message).toMatch(/job\/notes\.txt' .+move/);
  await fs.unlink(join(directory, 'job', 'notes.txt'));
  await locks.using('job', async () => {});
});

describe('Names of somebody else', () => {
  const long = `y${'x'.repeat(300)}`;
  beforeEach(async () => {
    await locks.acquire('job');
    await locks.acquire(long);
    await fs.writeFile(join(directory, 'file'), '');
    await fs.writeFile(join(directory, 'notes~'), '');
    await fs.writeFile(join(directory, `x~${'0'.repeat(64)}`), '');
    await fs.mkdir(join(directory, 'folders', '2026112700000000'), { recursive: true });
    await fs.mkdir(join(directory, 'closed'));
    await fs.mkdir(join(directory, '~new', 'mine'), { recursive: true });
    await age(join(directory, '~new', 'mine'), 2 * DAY);
    // The superuser may read everything. So the refusal is planted.
    const { readdir } = fs;
    jest.spyOn(fs, 'readdir').mockImplementation((async (path: string, ...rest: []) => {
      const isClosed = path === join(directory, 'closed') || path.endsWith('/mine');
      if (isClosed) throw Object.assign(new Error('EACCES'), { code: 'EACCES' });
      return readdir(path, ...rest);
    }) as never);
  });

  test('break no list, no inspectMany and no prune', async () => {
    expect((await Array.fromAsync(locks.list())).map(({ key }) => key).sort()).toEqual(['job', long]);
    expect((await Array.fromAsync(locks.list({ prefix: long }))).map(({ key }) => key)).toEqual([long]);
    const found = await locks.inspectMany(['job', 'file', 'folders', 'closed']);
    expect([...found.keys()]).toEqual(['job']);
    expect(await store.prune({ olderThanMs: DAY })).toBe(0);
  });

  test.each([
    ['closed', /EACCES.+rights/],
    ['folders', /EISDIR/],
    ['file', /ENOTDIR/],
  ])('are an error for their own key: %s', async (key, message) => {
    const error = await errorOf(locks.tryAcquire(key));
    expect(error).toMatchObject({ foreign: true, message: expect.stringMatching(message) });
  });

  test('are not the folder of the locks itself: without the rights for all keys, no lock looks free', async () => {
    jest.restoreAllMocks();
    for (const directory of ['/etc/hostname', '/etc/hosts']) {
      const wrong = clientOf(new FileLockStore({ directory }));
      expect((await errorOf(wrong.inspectMany(['job']))).message).toMatch(/ENOTDIR/);
    }
  });
});

describe('A file system that refuses', () => {
  test('for a missing folder is named, and the folder is not made: the disk may not be mounted', async () => {
    const missing = join(directory, 'mount', 'locks');
    const error = await errorOf(clientOf(new FileLockStore({ directory: missing })).acquire('job'));
    expect(error).toMatchObject({ code: 'ERR_LOCK_STORE', transient: false });
    expect(error.message).toContain(missing);
    expect(error.message).toMatch(
      /ENOENT.+first see that the file system is mounted; then make the folder once with `mkdir`/,
    );
    expect(await fs.readdir(directory)).toEqual([]);
  });

  test.each([
    ['link', 'EPERM', false, /hard links/],
    ['link', 'EXDEV', false, /hard links/],
    ['link', 'EMLINK', false, /prune/],
    ['open', 'EACCES', false, /rights/],
    ['open', 'EROFS', false, /read-only/],
    ['open', 'ENOSPC', true, /free space/],
    ['open', 'EDQUOT', true, /quota/],
    ['readdir', 'EIO', true, /file server/],
    ['rename', 'EACCES', false, /rights/],
  ] as const)('%s with %s says what to do', async (name, code, transient, advice) => {
    // A key that was used makes a link. A new key makes a folder, which it moves.
    if (name !== 'rename') await locks.using('job', async () => {});
    refuse(name, code);
    const lockId = 'anna';
    const now = Date.now() + 1_000;
    const error = await errorOf(store.acquire({ key: 'job', lockId, owner: 'anna', now, until: now + 1, leaseMs: 1 }));
    expect(error).toMatchObject({ transient, cause: { code } });
    expect(error.message).toContain(`'${directory}`);
    expect(error.message).toContain(`(${code}): `);
    expect(error.message).toMatch(advice);
    await locks.using('job', { waitMs: 2_000 }, async () => {});
    expect(await fs.readdir(join(directory, '~new'))).toEqual([]);
  });

  test('for a moment costs no request: it is sent again', async () => {
    await locks.using('job', async () => {});
    refuse('link', 'ENOSPC');
    await locks.using('job', async () => {});
  });

  test('with ESTALE has lost the folder or the file, and the request goes on with what stands', async () => {
    await locks.using('job', async () => {});
    refuse('link', 'ESTALE');
    await locks.using('job', async () => {});
    // As Node tells of ESTALE, whose name it does not know.
    const stale = Object.assign(new Error(), { code: 'Unknown system error -116', errno: -constants.errno.ESTALE });
    const other = clientOf(new FileLockStore({ directory }));
    const read = jest.spyOn(fs, 'readFile').mockRejectedValueOnce(stale);
    await other.using('job', async () => {});
    expect(read.mock.calls.length).toBeGreaterThan(1);
  });

  test('after the link has answered the write: a second sending finds its own grant', async () => {
    await locks.using('job', async () => {});
    const link = fs.link;
    jest.spyOn(fs, 'link').mockImplementationOnce(async (...paths) => {
      await link(...paths);
      throw Object.assign(new Error('EIO: lost'), { code: 'EIO' });
    });
    const lease = await locks.acquire('job');
    expect(await lease.release()).toBe(true);
  });

  test('a link that the client sent twice by itself is known by the second name of the file', async () => {
    await locks.using('job', async () => {});
    const link = fs.link;
    jest.spyOn(fs, 'link').mockImplementation(async (...paths) => {
      await link(...paths);
      await link(...paths);
    });
    const lease = await locks.acquire('job');
    expect(await lease.release()).toBe(true);
    expect(await filesIn(directory)).toHaveLength(2);
  });

  test.each([
    ['is gone', 'ENOENT'],
    ['is stale', 'ESTALE'],
  ])('a link that another writer won stays lost, though the own file %s when it is looked at', async (_, code) => {
    await locks.using('job', async () => {});
    const other = clientOf(new FileLockStore({ directory }));
    const { link, isLinked } = hostFiles;
    let winner: Lease | undefined;
    jest.spyOn(hostFiles, 'link').mockImplementationOnce(async (...paths) => {
      winner = await other.acquire('job');
      return link(...paths);
    });
    jest.spyOn(hostFiles, 'isLinked').mockImplementationOnce(async (path) => {
      // The writer sleeps here for more than an hour, and another process sweeps the writer's file away.
      if (code === 'ENOENT') await fs.unlink(path);
      else refuse('open', code);
      return isLinked(path);
    });
    expect(await locks.tryAcquire('job')).toBeNull();
    expect((await locks.inspect('job'))?.lockId).toBe(winner?.lockId);
    expect(await winner?.release()).toBe(true);
  });

  test('that hangs fails the call within requestTimeoutMs, and the signal of a lease aborts in time', async () => {
    const lease = await locks.acquire('job', { leaseMs: 500, heartbeatMs: 100 });
    jest.spyOn(fs, 'open').mockReturnValue(new Promise(() => {}) as never);
    expect((await errorOf(locks.tryAcquire('other', { requestTimeoutMs: 50 }))).message).toMatch(
      /no answer came within \d+ ms/,
    );
    await new Promise((resolve) => lease.signal.addEventListener('abort', resolve));
    expect(Date.now()).toBeLessThan((await store.read('job', { consistent: true })).record?.expiresAt ?? 0);
  });
});

test('A damaged version says to delete the folder of the key: the version before it would repeat a token', async () => {
  await locks.using('job', async () => {});
  const { fencingToken } = await locks.acquire('job');
  const folder = join(directory, 'job');
  const versions = (await fs.readdir(folder)).sort();
  expect(versions).toHaveLength(2);
  await fs.writeFile(join(folder, versions[1] as string), '');
  const other = clientOf(new FileLockStore({ directory }));
  const { message } = await errorOf(other.tryAcquire('job'));
  expect(message).toMatch(/the folder '.+\/job', .+nobody holds the lock, delete it\.$/);
  await fs.rm(message.match(/the folder '(.+?)'/)?.[1] as string, { recursive: true });
  expect((await other.acquire('job')).fencingToken).toBeGreaterThan(fencingToken);
});

describe('A full disk', () => {
  const fill = () => {
    const { open } = fs;
    jest.spyOn(fs, 'open').mockImplementation((async (path: string, flags: string) => {
      if (flags === 'wx') throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
      return open(path, flags);
    }) as never);
    jest.spyOn(fs, 'mkdir').mockRejectedValue(Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' }));
  };
  const leave = async (key: string, ms: number) => {
    const now = Date.now() - ms;
    await store.acquire({ key, lockId: 'anna', owner: 'anna', now, until: now + 1, leaseMs: 1 });
    for (const name of await fs.readdir(join(directory, key))) await age(join(directory, key, name), ms);
  };

  test('is pruned, by the last time at which something was written, so that less is deleted and never more', async () => {
    await leave('old', 3 * DAY);
    await leave('young', 1.5 * DAY);
    await age(join(directory, '~new'), DAY);
    fill();
    expect(await store.prune({ olderThanMs: DAY })).toBe(1);
    expect((await fs.readdir(directory)).sort()).toEqual(['young', '~new']);
  });

  test('does not hide that a lock is busy, and refuses a free lock with the advice to free space', async () => {
    await locks.acquire('job');
    fill();
    const other = clientOf(new FileLockStore({ directory }));
    expect(await other.tryAcquire('job')).toBeNull();
    expect((await other.inspect('job'))?.held).toBe(true);
    expect((await errorOf(other.tryAcquire('free', { withinMs: 300 }))).message).toMatch(/ENOSPC.+free space/);
  });

  test('is a finding of check', async () => {
    fill();
    expect(await store.check()).toEqual([{ severity: 'error', message: expect.stringMatching(/ENOSPC.+free space/) }]);
  });

  test('is a finding of check, also if the disk still takes empty files', async () => {
    const { write } = hostFiles;
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    jest.spyOn(hostFiles, 'write').mockImplementation(async (path, text) => {
      const date = await write(path, '');
      if (text.length > 200) throw faultOf(full, 'write', path);
      return date;
    });
    expect(await store.check()).toEqual([{ severity: 'error', message: expect.stringMatching(/ENOSPC.+free space/) }]);
    expect(await filesIn(directory)).toEqual([]);
  });

  test.each([
    [{ bavail: 0 }, 'has no free space: free space or inodes, or raise the quota.'],
    [{ ffree: 0 }, 'has no free inodes: free space or inodes, or raise the quota.'],
    [{ bavail: 0, ffree: 0 }, 'has no free space and no free inodes: free'],
  ])('is a finding of check if root alone may still write: %p', async (facts, message) => {
    const roomy = { type: 0x6969, blocks: 9, bfree: 1, bavail: 1, files: 9, ffree: 1 };
    jest.spyOn(fs, 'statfs').mockResolvedValue({ ...roomy, ...facts } as never);
    expect(await store.check()).toContainEqual({ severity: 'error', message: expect.stringContaining(message) });
  });

  test.each([
    { files: 0, ffree: 0 },
    { blocks: 0, bavail: 0 },
  ])('is told by no file system that counts none: %p', async (facts) => {
    const roomy = { type: 0x6969, blocks: 9, bfree: 1, bavail: 1, files: 9, ffree: 1 };
    jest.spyOn(fs, 'statfs').mockResolvedValue({ ...roomy, ...facts } as never);
    expect((await store.check()).filter(({ severity }) => severity === 'error')).toEqual([]);
  });
});

test('A missing folder has no empty list', async () => {
  const missing = clientOf(new FileLockStore({ directory: join(directory, 'typo') }));
  expect((await errorOf(Array.fromAsync(missing.list()))).message).toMatch(/typo' \(ENOENT\): first see/);
});

test('The error of a write is not hidden by the error of the deletion that follows', async () => {
  await locks.using('job', async () => {});
  refuse('open', 'EROFS');
  jest.spyOn(fs, 'unlink').mockRejectedValueOnce(Object.assign(new Error('EROFS'), { code: 'EROFS' }));
  const error = await errorOf(store.read('job', { consistent: true, dated: true }));
  expect(error.message).toMatch(/cannot write '/);
});

test('A file with a number beyond 2^53 is no version', async () => {
  await locks.using('job', async () => {});
  await fs.writeFile(join(directory, 'job', '9999999999999999'), '{}');
  await clientOf(new FileLockStore({ directory })).using('job', async () => {});
});

describe('The times of files', () => {
  const coarsely = () => {
    const { write } = hostFiles;
    jest.spyOn(hostFiles, 'write').mockImplementation(async (...args) => {
      return Math.floor((await write(...args)) / 1_000) * 1_000;
    });
  };

  test('tell the steps of the dates: a second until the first date is known, and 20 ms if it is fine', async () => {
    expect(store.serverDateStepMs).toBe(1_000);
    jest.spyOn(hostFiles, 'write').mockResolvedValueOnce(1_795_745_883_171);
    await store.read('job', { consistent: true, dated: true });
    expect(store.serverDateStepMs).toBe(20);
  });

  test('in whole seconds do not make a right clock a wrong one', async () => {
    coarsely();
    while (Date.now() % 1_000 < 500) await new Promise((resolve) => setTimeout(resolve, 20));
    const before = Date.now();
    const lease = await locks.acquire('job', { leaseMs: 10_000 });
    expect((await locks.inspect('job'))?.expiresAt).toBeGreaterThanOrEqual(before + 10_000);
    await lease.renew();
    expect((await locks.inspect('job'))?.expiresAt).toBeGreaterThanOrEqual(before + 10_000);
  });

  test('in whole seconds are a finding of check', async () => {
    coarsely();
    expect(await store.check()).toContainEqual({
      severity: 'warning',
      message: expect.stringMatching(/whole seconds.+safetyMs/),
    });
  });
});

describe('A writer that stops between two calls', () => {
  /** Makes the n-th call of the store never answer: before the call is made, or after. */
  const stopAt = (n: number, after: boolean) => {
    let calls = 0;
    let isReached = false;
    for (const name of Object.keys(hostFiles) as (keyof typeof hostFiles)[]) {
      const call = hostFiles[name] as (...args: unknown[]) => Promise<unknown>;
      jest.spyOn(hostFiles, name).mockImplementation((async (...args: unknown[]) => {
        if (++calls > n) return new Promise(() => {});
        if (calls < n) return call(...args);
        if (after) await call(...args);
        isReached = true;
        return new Promise(() => {});
      }) as never);
    }
    return () => isReached;
  };
  const acquire = (lockId: string, now: number) =>
    store.acquire({ key: 'job', lockId, owner: lockId, now, until: now + 10, leaseMs: 10 });

  test.each([
    ['the first', false],
    ['a later', true],
  ])(
    'while it makes %s version blocks nobody, and what it left is swept away by a later writer',
    async (_, isLater) => {
      let hasStopped = true;
      for (let n = 1; hasStopped; n++) {
        for (const after of [false, true]) {
          await fs.rm(directory, { recursive: true });
          await fs.mkdir(directory);
          store = new FileLockStore({ directory });
          const now = Date.now();
          if (isLater) await acquire('first', now);
          const stopped = stopAt(n, after);
          let isDone = false;
          void acquire('stopped', now + 100).then(() => {
            isDone = true;
          });
          while (!isDone && !stopped()) await new Promise(setImmediate);
          jest.restoreAllMocks();
          hasStopped = stopped();
          const fresh = new FileLockStore({ directory });
          for (const name of await fs.readdir(join(directory, '~new')).catch(() => [])) {
            // The part of the request that goes on beside the stopped call may delete its file.
            await age(join(directory, '~new', name), 2 * 3_600_000).catch(() => {});
          }
          const next = {
            key: 'job',
            lockId: 'next',
            owner: 'next',
            now: now + 1_000,
            until: now + 2_000,
            leaseMs: 1_000,
          };
          expect(await fresh.acquire(next)).toMatchObject({ applied: true });
          expect((await fresh.release({ ...next, holdAtLeastMs: 0 })).applied).toBe(true);
          expect(await fs.readdir(join(directory, '~new'))).toEqual([]);
          expect((await fs.readdir(join(directory, 'job'))).length).toBeLessThanOrEqual(2);
        }
      }
    },
  );

  test('and links a version late changes nothing, and is told that its version may have stood', async () => {
    const now = Date.now();
    await acquire('first', now);
    const write = hostFiles.write;
    jest.spyOn(hostFiles, 'write').mockImplementationOnce(async (...args) => {
      const date = await write(...args);
      const others = new FileLockStore({ directory });
      for (let i = 1; i <= 4; i++) {
        const moment = now + 100 * i;
        await others.acquire({
          key: 'job',
          lockId: `o${i}`,
          owner: 'o',
          now: moment,
          until: moment + 10_000 * (i > 3 ? 1 : 0),
          leaseMs: 1,
        });
      }
      return date;
    });
    const { applied, record, maybeAppliedBefore } = await acquire('late', now + 50);
    expect({ applied, lockId: record?.lockId, maybeAppliedBefore }).toEqual({
      applied: false,
      lockId: 'o4',
      maybeAppliedBefore: true,
    });
    expect((await store.read('job', { consistent: true })).record?.lockId).toBe('o4');
  });

  test('for longer than ten minutes after its reading reads again, whatever it remembers', async () => {
    await locks.using('job', async () => {});
    const link = jest.spyOn(hostFiles, 'link');
    const load = jest.spyOn(hostFiles, 'read');
    jest.spyOn(Date, 'now').mockReturnValue(Date.now() + 700_000);
    const now = Date.now();
    expect((await acquire('anna', now)).applied).toBe(true);
    expect(load).toHaveBeenCalled();
    expect(link).toHaveBeenCalledTimes(1);
  });

  test('for so long by the times of the server reads again, though the clocks of a paused machine stood still', async () => {
    const { write } = hostFiles;
    await locks.using('job', async () => {});
    const read = jest.spyOn(hostFiles, 'read');
    const link = jest.spyOn(hostFiles, 'link');
    jest.spyOn(hostFiles, 'write').mockImplementation(async (...args) => (await write(...args)) + 700_000);
    const now = Date.now() + 100;
    expect((await acquire('anna', now)).applied).toBe(true);
    expect(read).toHaveBeenCalled();
    expect(link).toHaveBeenCalledTimes(1);
  });

  test('and whose caller has given up writes nothing any more', async () => {
    await locks.using('job', async () => {});
    const controller = new AbortController();
    const write = hostFiles.write;
    jest.spyOn(hostFiles, 'write').mockImplementation(async (...args) => {
      const date = await write(...args);
      controller.abort(new Error('given up'));
      return date;
    });
    const now = Date.now() + 1_000;
    const request = { key: 'job', lockId: 'anna', owner: 'anna', now, until: now + 9, leaseMs: 9 };
    await expect(store.acquire(request, controller.signal)).rejects.toThrow('given up');
    expect((await store.read('job', { consistent: true })).record?.lockId).toBeUndefined();
    expect(await fs.readdir(join(directory, '~new'))).toEqual([]);
  });
});

describe('prune', () => {
  const ago = async (key: string, ms: number) => {
    const now = Date.now() - ms;
    const request = { key, lockId: 'anna', owner: 'anna', now, until: now + 1_000, leaseMs: 1_000 };
    await store.acquire(request);
    await store.release({ ...request, holdAtLeastMs: 0 });
    for (const name of await fs.readdir(join(directory, key))) await age(join(directory, key, name), ms);
    return request;
  };

  test('deletes the locks that were free and unwritten for that long, and no others', async () => {
    await ago('old', 3 * DAY);
    await ago('young', DAY / 2);
    const held = await ago('held', 3 * DAY);
    await store.acquire({ ...held, lockId: 'bert', now: Date.now() - 2 * DAY, until: Date.now() + 60_000 });
    for (const name of await fs.readdir(join(directory, 'held'))) await age(join(directory, 'held', name), 2 * DAY);
    const kept = await ago('committed', 3 * DAY);
    await store.acquire({ ...kept, lockId: 'carl', now: kept.now + 2_000, until: kept.now + 3_000 });
    await store.commit({ key: 'committed', lockId: 'carl', data: '1', number: 1 });
    for (const name of await fs.readdir(join(directory, 'committed')))
      await age(join(directory, 'committed', name), 2 * DAY);
    expect(await store.prune({ olderThanMs: DAY })).toBe(1);
    expect((await fs.readdir(directory)).sort()).toEqual(['committed', 'held', 'young', '~new']);
  });

  test('lets a lock begin anew, with a greater token', async () => {
    await ago('job', 3 * DAY);
    const before = (await store.read('job', { consistent: true })).record?.fencingToken ?? 0;
    await store.prune({ olderThanMs: DAY });
    expect((await store.read('job', { consistent: true })).record).toBeUndefined();
    expect((await locks.acquire('job')).fencingToken).toBeGreaterThan(before);
  });

  test('first sweeps the files of stalled writers away, so that none of them writes after it', async () => {
    await ago('job', 3 * DAY);
    let pruned: Promise<number> | undefined;
    const write = hostFiles.write;
    jest.spyOn(hostFiles, 'write').mockImplementationOnce(async (...args) => {
      const date = await write(...args);
      await age(args[0], 2 * DAY);
      jest.restoreAllMocks();
      // The prune is killed before its last call, and leaves an empty folder, into which a link would go.
      jest.spyOn(hostFiles, 'removeFolder').mockResolvedValueOnce(undefined);
      pruned = new FileLockStore({ directory }).prune({ olderThanMs: DAY });
      await pruned;
      return date;
    });
    const now = Date.now();
    const { record } = await store.acquire({
      key: 'job',
      lockId: 'late',
      owner: 'late',
      now,
      until: now + 1,
      leaseMs: 1,
    });
    expect(await pruned).toBe(1);
    // The late write found its file gone, read again, and began the lock anew.
    expect(record).toMatchObject({ lockId: 'late', tookOver: { type: 'nothing' } });
  });

  test('leaves a folder with a file of somebody else, whose lock works on', async () => {
    await ago('job', 3 * DAY);
    await fs.writeFile(join(directory, 'job', 'notes.txt'), '');
    expect(await store.prune({ olderThanMs: DAY })).toBe(0);
    expect((await store.read('job', { consistent: true })).record).toBeDefined();
    await locks.using('job', async () => {});
  });

  test('that was killed leaves an empty folder, which the next prune deletes if the name is a key and the folder is old', async () => {
    const folders = ['job', 'a+b', 'young', 'Archive', 'lost.found', `job~${'0'.repeat(64)}`, 'notes~'];
    for (const name of folders) await fs.mkdir(join(directory, name));
    for (const name of folders) if (name !== 'young') await age(join(directory, name), 2 * DAY);
    expect(await store.prune({ olderThanMs: DAY })).toBe(0);
    expect((await fs.readdir(directory)).sort()).toEqual(['Archive', 'lost.found', 'notes~', 'young', '~new']);
  });

  test('of less than a day is refused', async () => {
    await expect(store.prune({ olderThanMs: DAY - 1 })).rejects.toThrow(
      'olderThanMs must be a whole number of milliseconds from 86400000',
    );
    await expect(store.prune({ olderThen: DAY } as never)).rejects.toThrow("did you mean 'olderThanMs'");
  });
});

describe('check', () => {
  test('finds no error in a folder of this machine', async () => {
    expect((await locks.check()).filter(({ severity }) => severity === 'error')).toEqual([]);
    expect(await filesIn(directory)).toEqual([]);
  });

  test('says that a folder is missing, or that its file system has no hard links', async () => {
    const missing = new FileLockStore({ directory: join(directory, 'none') });
    expect(await missing.check()).toEqual([
      { severity: 'error', message: expect.stringMatching(/none.+ENOENT.+is mounted.+`mkdir`/) },
    ]);
    refuse('link', 'EPERM');
    expect(await store.check()).toEqual([{ severity: 'error', message: expect.stringMatching(/EPERM.+hard links/) }]);
  });

  test.each([
    [0xff534d42 | 0, 'error', /CIFS/],
    [0x4d44, 'error', /FAT/],
    [0x01021994, 'warning', /tmpfs.+one machine/],
    [0x794c7630, 'warning', /overlayfs.+container/],
    [0xef53, 'warning', /local disk/],
  ])('knows the file system %i', async (type, severity, message) => {
    jest.spyOn(fs, 'statfs').mockResolvedValue({ type } as never);
    expect(await store.check()).toEqual(
      process.platform === 'linux' ? [{ severity, message: expect.stringMatching(message) }] : [],
    );
  });

  test.each([
    ['3', 1],
    ['4.1', 0],
  ])('looks at the version of an NFS mount: %s', async (version, findings) => {
    jest.spyOn(fs, 'statfs').mockResolvedValue({ type: 0x6969 } as never);
    const mount = `1 2 0:1 / ${await fs.realpath(root)} rw - nfs4 server:/ rw,vers=${version},hard\n`;
    jest.spyOn(fs, 'readFile').mockResolvedValueOnce(`1 1 0:1 / / rw - ext4 disk rw\n${mount}`);
    expect(await store.check()).toHaveLength(process.platform === 'linux' ? findings : 0);
  });
});
