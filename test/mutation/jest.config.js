import { fileURLToPath } from 'node:url';
import config from '../../jest.config.js';

const { transform, extensionsToTreatAsEsm, modulePathIgnorePatterns } = config.projects[0];
const folders = [
  'lease',
  'record',
  'swap',
  'contract',
  'store',
  'middleware',
  'tasks',
  'peers',
  'security',
  'mutation',
  's3',
];
const here = (file) => fileURLToPath(new URL(file, import.meta.url));

// The embedded server alone, in CI too: a mutant that survives costs every test there is.
Object.assign(process.env, { JAVA_HOME: '/nonexistent', CI: '' });

/** The tests that judge mutants: those of the code that is mutated, without what takes long or needs more than npm. */
export default {
  rootDir: '../..',
  testEnvironment: 'node',
  testRunner: here('jest-circus-until-dead.cjs'),
  testSequencer: here('nearest-first.cjs'),
  // On a busy machine, a shorter time kills mutants that no test notices.
  testTimeout: 10_000,
  extensionsToTreatAsEsm,
  transform,
  modulePathIgnorePatterns,
  testMatch: folders.map((folder) => `<rootDir>/test/${folder}/**/*.test.ts`),
  testPathIgnorePatterns: [
    '/node_modules/',
    'test/store/(faults|reach)',
    // No line of lib/redis and lib/file is broken.
    'test/(contract|store)/redis',
    'test/contract/file',
    'test/s3/(processes|questions)',
    'test/tasks/(dynamodb|fleet)',
    'lock-records.dynamodb',
  ],
};
