import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, describe, expect, jest, test } from '@jest/globals';
import { faultsIn, grantsIn } from './fight.ts';

jest.setTimeout(60_000);

describe('Processes that fight for a lock in files', () => {
  const directory = mkdtempSync(join(tmpdir(), 'leasehold-'));
  afterAll(() => rmSync(directory, { recursive: true }));

  const fight = (key: string, grants: number) => {
    const program = join(import.meta.dirname, 'fighter.ts');
    const child = spawn(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', program, directory, key, `${grants}`],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    );
    return { child, output: text(child.stdout) };
  };

  test('hold the lock one at a time, with growing tokens, from the first use of the key on', async () => {
    const outputs = await Promise.all([1, 2, 3, 4].map(() => fight('job', 100).output));
    const grants = grantsIn(outputs);
    expect(grants).toHaveLength(400);
    expect(faultsIn(grants)).toEqual([]);
    expect(readdirSync(join(directory, '~new'))).toEqual([]);
    expect(readdirSync(join(directory, 'job')).length).toBeLessThanOrEqual(2);
  });
});
