import { once } from 'node:events';
import { type Command, InvalidArgumentError } from 'commander';
import { show } from '../../lib/record/check.ts';
import { atPlace } from '../place.ts';
import { serve } from '../serve/server.ts';
import { print, warn } from '../terminal.ts';

interface Options {
  readonly port?: number;
  readonly allowRelease?: boolean;
  readonly every: number;
}

export const addServe = (program: Command): Command =>
  program
    .command('serve')
    .description('show the locks on a live page for the browsers of this machine, until Ctrl-C')
    .argument('[prefix]', 'the beginning of the keys')
    .option('--port <n>', 'the port on 127.0.0.1; default: a free one', portOf)
    .option('--allow-release', 'let the page end grants; without it, the page only reads')
    .option(
      '--every <seconds>',
      'the time between two looks at the place, while a browser shows the page',
      everyOf,
      2_000,
    )
    .action(
      atPlace(async ({ locks, title }, { port, allowRelease, every: everyMs }: Options, prefix?: string) => {
        // The page opens nothing in a browser by itself: the machine may have none.
        const page = await serve(locks, { place: title, port, allowRelease, everyMs, prefix });
        print(page.url);
        warn(`The page shows ${title}. Its URL is a secret: whoever knows it sees the locks. Ctrl-C ends the page.`);
        const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
        await Promise.race(signals.map((signal) => once(process, signal)));
        await page.close();
        return 0;
      }),
    );

function portOf(text: string): number {
  const port = Number(text || Number.NaN);
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new InvalidArgumentError(`It must be a whole number from 0 to 65535, but it is ${show(text)}.`);
}

function everyOf(text: string): number {
  const seconds = Number(text || Number.NaN);
  if (seconds >= 0.25 && seconds <= 3600) return Math.round(seconds * 1000);
  throw new InvalidArgumentError(`It must be a number of seconds from 0.25 to 3600, but it is ${show(text)}.`);
}
