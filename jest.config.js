import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

// Suites that are slow, or need more than npm ci installs, have a command of their own: the script test:<folder> takes
// the tests of test/<folder>. Everything else is npm test.
const { scripts } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'));
const ownCommand = Object.keys(scripts).flatMap((name) =>
  name.startsWith('test:') ? [name.slice('test:'.length)] : [],
);

// The programs that tests start, each many times, are compiled once.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('node_modules/.cache/node', import.meta.url));

// Whatever tests, and the programs that they start, leave in the folder for temporary files goes with the run. The CDK leaves
// an assembly for each template.
const cacheDirectory = fileURLToPath(new URL('node_modules/.cache/jest', import.meta.url));
const temporary = mkdtempSync(join(tmpdir(), 'leasehold-'));
process.env.TMPDIR = temporary;
process.on('exit', () => {
  try {
    rmSync(temporary, { recursive: true, force: true });
  } catch {
    // NFS keeps a file that is still open. What is left there fails no run.
  }
});

const typescript = {
  cacheDirectory,
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '\\.ts$': ['@swc/jest', { jsc: { parser: { syntax: 'typescript' }, target: 'esnext' }, module: { type: 'es6' } }],
  },
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/cdk.out/'],
};

export default {
  // A test that needs a second alone may need more than Jest's five on a machine that is busy.
  testTimeout: 20_000,
  reporters: ['default', '<rootDir>/test/reporter.js'],
  projects: [
    {
      ...typescript,
      displayName: 'main',
      testMatch: ['<rootDir>/test/**/*.test.ts'],
      testPathIgnorePatterns: ['/node_modules/', ...ownCommand.map((folder) => `<rootDir>/test/${folder}/`)],
    },
    ...ownCommand.map((folder) => ({
      ...typescript,
      displayName: folder,
      testMatch: [`<rootDir>/test/${folder}/**/*.test.ts`],
    })),
  ],
};
