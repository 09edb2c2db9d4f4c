#!/usr/bin/env node
/** The operators' command. Each command has a file in `commands/`. */
import { makeProgram } from './program.ts';
import { guardOutput, statusOf } from './terminal.ts';

guardOutput();
// No `await`: the CommonJS build has none at the top level.
void makeProgram()
  .parseAsync()
  .then(undefined, statusOf)
  .then((status) => {
    if (typeof status === 'number') process.exitCode = status;
  });
