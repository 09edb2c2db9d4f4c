/** The operators' command: its commands, each in a file of `commands/`, their help, and the answers to wrong usage. */
import { realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import complete from '@bomb.sh/tab/commander';
import { Command, CommanderError } from 'commander';
import { addDoctor } from './commands/doctor.ts';
import { addLs } from './commands/ls.ts';
import { addPrune } from './commands/prune.ts';
import { addRelease } from './commands/release.ts';
import { addRepair } from './commands/repair.ts';
import { addResetOnce } from './commands/reset-once.ts';
import { addRun } from './commands/run.ts';
import { addServe } from './commands/serve.ts';
import { addShow } from './commands/show.ts';
import { addTable } from './commands/table.ts';
import { addWatch } from './commands/watch.ts';
import { addPlaceOptions } from './place.ts';
import { guardOutput, helpWidth, print, statusOf, warn } from './terminal.ts';

const EXIT_STATUS = `
Exit status:
  0 done; 1 not found, not done, or an error that doctor found; 2 used wrongly, as with a once token of another form that
  sorts before the last one; 3 the store did not answer or refused (no such table, no permission), or the record is damaged;
  74 the output could not be written; 141 the reader of the output has gone.`;

const EXAMPLES = `
Examples:
  leasehold ls nightly- --held --table locks
  leasehold show nightly-report --store s3://jobs-111122223333/locks
  leasehold release nightly-report
  leasehold run nightly-report --once "$(date -u +%F)" -- ./report.sh
  source <(leasehold complete bash)`;

/** Runs the command that the arguments of the process name, and sets the exit status. */
export async function main(): Promise<void> {
  guardOutput();
  try {
    await makeProgram().parseAsync();
  } catch (error) {
    process.exitCode = statusOf(error);
  }
}

function makeProgram(): Command {
  const program = new Command('leasehold')
    .description('Shows, ends and repairs the locks of a table, a bucket, a Redis server or a folder.')
    // `--version` alone has no short form: `-V` and `-v` mean too many things elsewhere.
    .option('--version', 'show the version')
    .helpOption('-h, --help', 'show the help; leasehold COMMAND --help shows the options of a command')
    .helpCommand('help [command]', 'show the help of a command')
    .usage('COMMAND [options]')
    .configureHelp({ showGlobalOptions: false })
    .configureOutput({
      writeOut: (text) => eachLine(text, print),
      writeErr: (text) => eachLine(text, warn),
      outputError: (text, write) => write(text.replace(/^error: /, 'leasehold: ')),
      getOutHelpWidth: () => helpWidth(process.stdout),
      getErrHelpWidth: () => helpWidth(process.stderr),
    })
    .showHelpAfterError('leasehold --help shows the commands; leasehold COMMAND --help shows the options of one.')
    .exitOverride()
    // The options of a command stand behind its name, so that `run KEY -- COMMAND --option` leaves the option to COMMAND.
    .enablePositionalOptions()
    .addHelpText('beforeAll', ({ command }) => refuseUnknown(command))
    .addHelpText('after', `${EXAMPLES}\n${EXIT_STATUS}`);
  addPlaceOptions(program);
  program.on('option:version', () => {
    print(version());
    // An exit at this point would come before the error of an output that cannot be written.
    throw new CommanderError(0, 'leasehold.version', '');
  });
  const commands = [
    addLs,
    addShow,
    addWatch,
    addServe,
    addRun,
    addRelease,
    addRepair,
    addResetOnce,
    addPrune,
    addDoctor,
    addTable,
  ];
  for (const command of commands.map((add) => add(program))) {
    for (const leaf of command.commands.length > 0 ? command.commands : [command]) addPlaceOptions(leaf);
  }
  addCompletion(program);
  return program;
}

/** Refuses to show the help of a command that is none: commander would show the help of all. */
function refuseUnknown(command: Command): string {
  const { args, commands } = command;
  const asked = args[0] === 'help' ? args[1] : args[0];
  const names = commands.flatMap((one) => [one.name(), ...one.aliases()]);
  if (asked === undefined || asked.startsWith('-') || names.length === 0 || ['help', ...names].includes(asked))
    return '';
  command.error(`error: unknown command '${asked}'`);
}

/** Adds `complete SHELL`, which prints a script for the shell, and answers the script's questions. */
function addCompletion(program: Command): void {
  complete(program);
  program.commands.at(-1)?.description('print the completion script of bash, zsh, fish or powershell');
}

/** The package's version. The package is found by the command's file, which may be a link to the file. */
const version = (): string =>
  createRequire(realpathSync(process.argv[1] as string))('leasehold/package.json').version as string;

/** Each line is printed by itself: a line break inside of an argument is shown as an escape. */
function eachLine(text: string, write: (line: string) => void): void {
  for (const line of text.replace(/\n$/, '').split('\n')) write(line);
}
