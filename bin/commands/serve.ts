import { once } from 'node:events';
import type { Command } from 'commander';
import { parserBetween, parserOf, secondsOption } from '../numbers.ts';
import { atPlace } from '../place.ts';
import { serve } from '../serve/server.ts';
import { print, untilStopped, warn } from '../terminal.ts';

interface Options {
  readonly port?: number;
  readonly allowRelease?: boolean;
  readonly every: number;
}

const portOf = parserOf(
  'a whole number from 0 to 65535',
  (port) => Number.isInteger(port) && port >= 0 && port <= 65_535,
);

const everyOption = secondsOption(
  '--every <seconds>',
  'the time between two looks at the place, while a browser shows the page',
  parserBetween('a number of seconds', 0.25, 3600),
  2,
);

export const addServe = (program: Command): Command =>
  program
    .command('serve')
    .description('show the locks on a live page for the browsers of this machine, until Ctrl-C')
    .argument('[prefix]', 'the beginning of the keys')
    .option('--port <n>', 'the port on 127.0.0.1; default: a free one', portOf)
    .option('--allow-release', 'let the page end grants; without it, the page only reads')
    .addOption(everyOption)
    .action(
      atPlace(async ({ locks, title }, { port, allowRelease, every: everyMs }: Options, prefix?: string) => {
        const stopped = untilStopped();
        // The page opens nothing in a browser by itself: the machine may have none.
        const page = await serve(locks, { place: title, port, allowRelease, everyMs, prefix });
        print(page.url);
        warn(`The page shows ${title}. Its URL is a secret: whoever knows it sees the locks. Ctrl-C ends the page.`);
        await once(stopped, 'abort');
        await page.close();
        return 0;
      }),
    );
