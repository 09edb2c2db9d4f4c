import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { ServerProcess } from '../../demo/local/server-process.ts';
import { fight } from './fight.ts';
import { makeBucket } from './questions.ts';

const PROCESSES = 4;
const GRANTS = 25;
const program = join(import.meta.dirname, 'server.ts');

test('four processes get one lock a hundred times, one at a time, though the server is killed and restarted meanwhile', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'leasehold-s3-'));
  const startOn = (fixed?: number) =>
    ServerProcess.start('the S3 server', {
      command: process.execPath,
      args: (port) => [program, String(fixed ?? port), folder],
      isReady: async (_, output) => output.includes('http://'),
    });
  let server = await startOn();
  const port = portOf(server);
  const place = { endpoint: `http://127.0.0.1:${port}`, bucket: 'locks' };
  await makeBucket(place);
  let restarted: Promise<void> | undefined;
  try {
    const { tokens, faults } = await fight({ ...place, processes: PROCESSES, grants: GRANTS }, (count) => {
      if (count < (PROCESSES * GRANTS) / 2) return;
      restarted ??= server.end().then(async () => {
        server = await startOn(port);
      });
    });
    await restarted;
    expect(restarted).toBeDefined();
    expect(faults).toEqual([]);
    expect(tokens).toHaveLength(PROCESSES * GRANTS);
    expect(new Set(tokens).size).toBe(tokens.length);
  } finally {
    await server.end();
    rmSync(folder, { recursive: true });
  }
}, 60_000);

const portOf = ({ port }: ServerProcess) => port;
