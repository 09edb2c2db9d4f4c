/** The embedded DynamoDB, where the tests of the servers look for it. */
export * from '../../demo/local/launcher.ts';
