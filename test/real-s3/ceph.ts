/**
 * Ceph's gateway, an S3 server with conditional writes, over a Ceph of one node in memory. Debian's packages: ceph-mon, ceph-osd,
 * radosgw, ceph-common. Its daemons end with the process that started them.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort, ServerProcess } from '../../demo/local/server-process.ts';

const PROGRAMS = ['ceph-mon', 'ceph-osd', 'radosgw', 'radosgw-admin', 'ceph', 'monmaptool', 'ceph-authtool'];
/** The programs that are not installed. */
export const missing = PROGRAMS.filter((program) => spawnSync(program, ['--version']).error !== undefined);

export const KEY = 'leasehold';

export interface Ceph {
  readonly endpoint: string;
  stop(): Promise<void>;
}

/** The settings of a Ceph with one copy of everything, in memory, for this machine alone. */
const settings = (folder: string, id: string, monitor: number, gateway: number) => `
[global]
fsid = ${id}
mon host = [v1:127.0.0.1:${monitor}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind msgr2 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = ${folder}/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
osd objectstore = memstore
memstore device bytes = 1073741824
mon data = ${folder}/mon
osd data = ${folder}/osd
run dir = ${folder}
admin socket = ${folder}/$name.asok
log file = ${folder}/$name.log
rgw frontends = beast endpoint=127.0.0.1:${gateway}
rgw dynamic resharding = false
rgw enable gc threads = false
rgw enable lc threads = false
`;

/** Starts a Ceph with its gateway, which takes some 10 seconds. */
export async function startCeph(): Promise<Ceph> {
  const folder = mkdtempSync(join(tmpdir(), 'leasehold-ceph-'));
  const [monitor, gateway] = [await freePort(), await freePort()];
  const id = randomUUID();
  const conf = join(folder, 'ceph.conf');
  for (const name of ['mon', 'osd']) mkdirSync(join(folder, name));
  writeFileSync(conf, settings(folder, id, monitor, gateway));
  const run = (program: string, ...args: string[]) =>
    execFileSync(program, args, { env: { ...process.env, CEPH_CONF: conf }, stdio: ['ignore', 'pipe', 'pipe'] });
  const ceph = (...args: string[]) => run('ceph', '--connect-timeout', '20', ...args);
  const running: ServerProcess[] = [];
  const stop = async () => {
    await Promise.all(running.map((process) => process.end()));
    rmSync(folder, { recursive: true, force: true });
  };
  /** Starts a daemon, and waits until `answers` no longer throws. */
  const daemon = async (program: string, args: string[], answers: () => unknown) => {
    const isReady = async () => {
      try {
        await answers();
        return true;
      } catch {
        await sleep(100);
        return false;
      }
    };
    running.push(await ServerProcess.start(program, { command: program, args: () => [...args, '-c', conf], isReady }));
  };
  try {
    const keyring = join(folder, 'keyring');
    const all = ['--cap', 'mon', 'allow *', '--cap', 'osd', 'allow *'];
    run('monmaptool', '--create', '--fsid', id, '--addv', 'a', `[v1:127.0.0.1:${monitor}]`, join(folder, 'map'));
    run(
      'ceph-authtool',
      '--create-keyring',
      join(folder, 'mon.keyring'),
      '--gen-key',
      '-n',
      'mon.',
      '--cap',
      'mon',
      'allow *',
    );
    run('ceph-authtool', '--create-keyring', keyring, '--gen-key', '-n', 'client.admin', ...all);
    run('ceph-authtool', keyring, '--gen-key', '-n', 'client.rgw', ...all);
    run(
      'ceph-authtool',
      keyring,
      '--gen-key',
      '-n',
      'osd.0',
      '--cap',
      'mon',
      'allow profile osd',
      '--cap',
      'osd',
      'allow *',
    );
    run('ceph-authtool', join(folder, 'mon.keyring'), '--import-keyring', keyring);
    run(
      'ceph-mon',
      '-c',
      conf,
      '--mkfs',
      '-i',
      'a',
      '--monmap',
      join(folder, 'map'),
      '--keyring',
      join(folder, 'mon.keyring'),
    );
    await daemon('ceph-mon', ['-f', '-i', 'a'], () => run('ceph', '--connect-timeout', '1', 'status'));
    const disk = randomUUID();
    ceph('osd', 'new', disk, '0');
    run('ceph-osd', '-c', conf, '-i', '0', '--mkfs', '--osd-uuid', disk);
    await daemon('ceph-osd', ['-f', '-i', '0'], () =>
      ceph('osd', 'crush', 'add', 'osd.0', '1.0', 'root=default', 'host=h'),
    );
    const endpoint = `http://127.0.0.1:${gateway}`;
    await daemon('radosgw', ['-f', '-n', 'client.rgw'], () => fetch(endpoint));
    const user = ['--uid', KEY, '--display-name', KEY, '--access-key', KEY, '--secret-key', KEY];
    run('radosgw-admin', '-n', 'client.rgw', 'user', 'create', ...user);
    return { endpoint, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
