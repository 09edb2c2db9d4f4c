import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, jest, test } from '@jest/globals';
import { App } from 'aws-cdk-lib';
import { DemoStack } from '../../bin/demo-stack.ts';
import { bundle } from '../../demo/local/function-bundle.ts';

jest.setTimeout(60_000);
const folder = mkdtempSync(join(tmpdir(), 'bundle-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('a handler is bundled byte for byte as the demo stack bundles its handlers', async () => {
  const outdir = join(folder, 'cdk.out');
  const app = new App({ outdir, builtinCloudFormationValidation: false, analyticsReporting: false });
  const { stackName } = new DemoStack(app, 'Bundled');
  app.synth();
  const { files } = JSON.parse(readFileSync(join(outdir, `${stackName}.assets.json`), 'utf8'));
  const assets = Object.values(files as Record<string, { source: { path: string; packaging: string } }>)
    .filter(({ source }) => source.packaging === 'zip')
    .map(({ source }) => readFileSync(join(outdir, source.path, 'index.mjs'), 'utf8'));

  await bundle(join(import.meta.dirname, '../../lambda/nightly.ts'), folder);
  expect(assets).toContain(readFileSync(join(folder, 'nightly/index.mjs'), 'utf8'));
});
