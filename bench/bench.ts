// Measures what a lock costs, beside raw SDK calls, bare HTTP and other locks (npm ci --prefix bench; redlock needs the
// program redis-server). A run that is no smoke run keeps its figures in bench/results/, and draws docs/performance.md,
// docs/scale.md and docs/waiting.md. The exit status is 1 if a figure is out of bounds: bench/bounds.ts.
//
//   npm run bench                      every measure, about ten minutes
//   npm run bench -- --only cycle      one measure, and several by several --only
//   npm run bench -- --smoke           short runs, to see that everything works; keeps nothing, and leaves most peers out
//   npm run bench -- --write           draws the pages again, from the kept figures
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { BOUNDS } from './bounds.ts';
import { misses } from './lib/bounds.ts';
import type { Measure } from './lib/measure.ts';
import { keep, type Result, writePages } from './lib/results.ts';
import { CERTIFICATE, SERVERS, type ServerName } from './lib/servers.ts';
import { plain, type Table } from './lib/table.ts';

/** Every measure: a file of this folder. */
const MEASURES = [
  'cycle',
  'busy',
  'throughput',
  'heap',
  'cold-start',
  'bundle',
  'hand-over',
  'fairness',
  'dead-holder',
  'hung-server',
  'held',
  'coalesce',
  'several',
  'lead',
  'tasks',
  'inspect-many',
  'permits',
  'redis',
];

const { values: flags } = parseArgs({
  options: {
    smoke: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: MEASURES },
  },
});
const unknown = flags.only.filter((name) => !MEASURES.includes(name));
if (unknown.length > 0)
  throw new Error(`No measure is named ${unknown.join(', ')}. The measures: ${MEASURES.join(', ')}.`);

/** Makes the certificate of the server behind TLS. */
function makeCertificate(): string {
  const folder = mkdtempSync(join(tmpdir(), 'leasehold-bench-'));
  process.once('exit', () => rmSync(folder, { recursive: true }));
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const name = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  const args = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '2',
    ...name,
  ];
  execFileSync('openssl', [...args, '-keyout', key, '-out', cert], { stdio: 'ignore' });
  return folder;
}

async function runChild(name: string, server: ServerName, execArgv: readonly string[], folder: string) {
  const child = fork(new URL('lib/child.ts', import.meta.url), [name, server, ...(flags.smoke ? ['smoke'] : [])], {
    execArgv: [...execArgv],
    env: { ...process.env, [CERTIFICATE]: folder, NODE_EXTRA_CA_CERTS: join(folder, 'cert.pem') },
    stdio: ['ignore', 2, 2, 'ipc'],
  });
  let rows: Table['rows'] | undefined;
  child.on('message', (message) => {
    rows = message as Table['rows'];
  });
  const [code] = await once(child, 'exit');
  if (!rows) throw new Error(`The measure ${name} (${server}) ended with ${code}, and without figures.`);
  return rows;
}

const sdk = JSON.parse(
  readFileSync(new URL('../node_modules/@aws-sdk/client-dynamodb/package.json', import.meta.url), 'utf8'),
);
const machine = () => ({
  cpus: `${cpus().length} × ${cpus()[0]?.model}`,
  load: loadavg().map((load) => Number(load.toFixed(2))),
  node: process.version,
  sdk: sdk.version as string,
});

async function measureAll(): Promise<Result[]> {
  const folder = makeCertificate();
  const results: Result[] = [];
  for (const name of flags.only) {
    const { default: measure } = (await import(`./${name}.ts`)) as { default: Measure };
    const tables: Table[] = [];
    for (const server of measure.servers) {
      const from = performance.now();
      const rows = await runChild(name, server, measure.execArgv ?? [], folder);
      const table = { title: SERVERS[server], rows };
      tables.push(table);
      console.error(`${name} (${server}): ${((performance.now() - from) / 1_000).toFixed(0)} s`);
      console.log(`\n${name}: ${plain(table)}`);
    }
    const result = { measure: name, about: measure.about, on: machine(), tables };
    results.push(result);
    if (!flags.smoke) keep(result);
  }
  return results;
}

if (flags.smoke)
  console.error('A smoke run is short. Most measures leave the other locks out: only a whole run compares.');
if (!flags.write) {
  const bounds = BOUNDS.filter(({ measure }) => flags.only.includes(measure));
  const missed = misses(bounds, await measureAll());
  for (const miss of missed) console.log(`OUT OF BOUNDS: ${miss}`);
  process.exitCode = missed.length > 0 ? 1 : 0;
}
if (!flags.smoke) writePages();
