import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

export const repository = join(import.meta.dirname, '../..');

/** The tarball that `npm pack` makes of these sources, installed without a network and with nothing beside it. */
export interface PackedPackage {
  /** The paths in the tarball. */
  files: string[];
  /** The folder that `npm install <tarball>` ran in. */
  folder: string;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Packing writes dist/ anew. So the test files of the package run one after the other. */
export async function packAndInstall(): Promise<PackedPackage> {
  const folder = await mkdtemp(join(tmpdir(), 'leasehold-package-'));
  const packed = await run('npm', ['pack', '--json', '--pack-destination', folder], repository);
  const [tarball] = JSON.parse(packed.slice(packed.indexOf('[\n'))) as {
    filename: string;
    files: { path: string }[];
  }[];
  await writeFile(join(folder, 'package.json'), '{ "private": true }');
  await run('npm', ['install', '--offline', '--no-audit', '--no-fund', `./${tarball!.filename}`], folder);
  return {
    folder,
    files: tarball!.files.map(({ path }) => path),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true }),
  };
}

/** Makes a user's project of the programs in consumer/. */
export async function makeConsumer(
  installed: PackedPackage,
  { packageJson, tsconfig, peers }: { packageJson: object; tsconfig: object; peers: string[] },
): Promise<string> {
  const folder = await makeProject(installed, join(import.meta.dirname, 'consumer'), peers);
  await writeFile(join(folder, 'package.json'), JSON.stringify(packageJson));
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(tsconfig));
  return folder;
}

/** Copies a project out of the repository. The project can import leasehold and `peers`, and nothing else. */
export async function makeProject(
  { folder: installed }: PackedPackage,
  project: string,
  peers: string[],
): Promise<string> {
  const folder = await mkdtemp(join(installed, 'project-'));
  await cp(project, folder, { recursive: true });
  await cp(join(installed, 'node_modules/leasehold'), join(folder, 'node_modules/leasehold'), { recursive: true });
  for (const name of peers) {
    const link = join(folder, 'node_modules', name);
    await mkdir(dirname(link), { recursive: true });
    await symlink(join(repository, 'node_modules', name), link);
  }
  return folder;
}

/** Runs one of the repository's own tools, or a consumer's program, by the Node that runs the tests. */
export function runNode(path: string, args: string[], cwd: string): Promise<string> {
  return run(process.execPath, [join(repository, 'node_modules', path), ...args], cwd);
}

export async function run(command: string, args: string[], cwd: string): Promise<string> {
  try {
    return (await promisify(execFile)(command, args, { cwd, env: { ...process.env, CDK_VALIDATION: 'false' } })).stdout;
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${command} ${args.join(' ')} in ${cwd} failed:\n${stdout}\n${stderr}`, { cause: error });
  }
}
