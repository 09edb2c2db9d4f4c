import { execFileSync, spawn } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';

/** The Debian packages with the programs that a machine needs. */
const PACKAGES: Readonly<Record<string, string>> = {
  'linux.uml': 'user-mode-linux',
  modprobe: 'kmod',
  ip: 'iproute2',
  'rpc.nfsd': 'nfs-kernel-server',
  'mount.nfs4': 'nfs-common',
  'mkfs.ext4': 'e2fsprogs',
  gcc: 'gcc',
};
const PATHS = ['/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** Says why no machine can run here. Undefined if one can. */
export async function whatIsMissing(): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'needs Linux';
  if (process.getuid?.() !== 0) return 'needs root';
  const programs = Object.keys(PACKAGES).filter((name) => !PATHS.some((path) => existsSync(join(path, name))));
  if (programs.length > 0) {
    return `needs Debian's packages ${programs.map((name) => PACKAGES[name]).join(', ')}: apt-get install them`;
  }
  const output = await runOnMachine('echo "kernel: $(uname -r)"', 30_000).catch((error) => String(error));
  return output.includes('kernel: ') ? undefined : `user-mode Linux does not run here (it needs ptrace): ${output}`;
}

/**
 * Boots a user-mode Linux on this machine's root folder, read-only, and runs a job as root in bash: `$T` is the folder of the
 * machine, `$T/hosts.sh` starts an NFS server and two hosts. Nothing outside of `$T` is changed, and no network is reached.
 * @returns the output of the job.
 * @throws Error with the output if the job fails, or does not end in time.
 */
export async function runOnMachine(job: string, timeoutMs: number): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'leasehold-nfs-'));
  try {
    prepare(folder, job);
    return await boot(folder, timeoutMs);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function prepare(folder: string, job: string): void {
  for (const file of ['init.sh', 'hosts.sh']) copyFileSync(join(import.meta.dirname, file), join(folder, file));
  execFileSync('chmod', ['+x', join(folder, 'init.sh')]);
  writeFileSync(join(folder, 'job.sh'), job);
  mkdirSync(join(folder, 'mnt'));
  mkdirSync(join(folder, 'root/lib'), { recursive: true });
  symlinkSync('/usr/lib/uml/modules', join(folder, 'root/lib/modules'));
  const source = join(import.meta.dirname, 'fp-state.c');
  execFileSync('gcc', ['-shared', '-fPIC', '-O2', '-o', join(folder, 'fp-state.so'), source]);
  writeFileSync(join(folder, 'disk'), '');
  truncateSync(join(folder, 'disk'), 512 * 2 ** 20);
  execFileSync('/sbin/mkfs.ext4', ['-q', join(folder, 'disk')]);
}

function boot(folder: string, timeoutMs: number): Promise<string> {
  const kernel = [
    'rootfstype=hostfs',
    'rootflags=/',
    'ro',
    `init=${join(folder, 'init.sh')}`,
    `T=${folder}`,
    'mem=2048M',
    `ubd0=${join(folder, 'disk')}`,
    'con=null',
    'con0=null,fd:1',
    'ssl=null',
    'quiet',
  ];
  return new Promise((resolve, reject) => {
    // The kernel ends all processes of the machine, which are those of one PID namespace, if this process dies.
    const tied = ['--pdeathsig', 'KILL', 'unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];
    const machine = spawn('setpriv', [...tied, 'linux.uml', ...kernel], {
      env: { ...process.env, LD_PRELOAD: join(folder, 'fp-state.so'), UML_DIR: folder, TMPDIR: '/tmp' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [machine.stdout, machine.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += stripVTControlCharacters(text).replaceAll('\r', '');
      });
    }
    const timer = setTimeout(() => machine.kill('SIGKILL'), timeoutMs);
    machine.on('error', reject);
    machine.on('close', () => {
      clearTimeout(timer);
      if (output.includes('job ended: 0')) resolve(output);
      else reject(new Error(`The job failed, or did not end within ${timeoutMs} ms:\n${output}`));
    });
  });
}
