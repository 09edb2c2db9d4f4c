#!/usr/bin/env node
/** The operators' command. Loads nothing else in a Node that is too old to load it: cron often finds another Node than a shell. */
const LEAST = [22, 3] as const;

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < LEAST[0] || (major === LEAST[0] && minor < LEAST[1])) {
  console.error(
    `leasehold: needs Node ${LEAST.join('.')} or later, but this is Node ${process.versions.node}, ${process.execPath}.`,
  );
  process.exitCode = 2;
} else {
  // No `await`: the CommonJS build has none at the top level.
  void import('./program.ts').then(({ main }) => main());
}
