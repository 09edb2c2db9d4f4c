import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { test } from '@jest/globals';

test('the compiler accepts the allowed uses of the middleware and refuses the others', async () => {
  const tsc = join(import.meta.dirname, '../../node_modules/typescript/bin/tsc');
  await promisify(execFile)(process.execPath, [tsc, '-p', import.meta.dirname]).catch(({ stdout }) => {
    throw new Error(stdout);
  });
});
