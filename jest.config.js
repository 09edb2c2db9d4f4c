// The folders under test/ whose suites are slow, or need more than npm ci installs, and so have a command of their own:
// npm run test:<folder>. Everything else is npm test.
const ownCommand = ['package', 'faults', 'lambda', 'simulation'];

const typescript = {
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '\\.ts$': ['@swc/jest', { jsc: { parser: { syntax: 'typescript' }, target: 'esnext' }, module: { type: 'es6' } }],
  },
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/cdk.out/'],
};

export default {
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
