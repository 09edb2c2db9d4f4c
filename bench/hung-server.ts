// The server stands still for 5 s (SIGSTOP), longer than a lease.
import { setTimeout as sleep } from 'node:timers/promises';
import { type Contender, ownContenders } from './lib/contenders.ts';
import type { Measure } from './lib/measure.ts';
import { peers } from './lib/peers.ts';
import type { Server } from './lib/servers.ts';

const LEASE_MS = 2_000;

/** One holder, and one that waits. Both hold from the second one's grant until the first one is told. */
async function measure(contender: Contender, server: Pick<Server, 'suspend' | 'resume'>, hungMs: number) {
  const key = `hung-${contender.name}`;
  let toldAt = Number.NaN;
  await contender.hold?.(key, LEASE_MS, () => {
    toldAt = performance.now();
  });
  const from = performance.now();
  server.suspend();
  let grantedAt = Number.NaN;
  // A waiter may give up when the server does not answer, and asks again.
  const waiting = (async () => {
    while (Number.isNaN(grantedAt)) {
      try {
        await contender.wait?.(key);
        grantedAt = performance.now();
      } catch {
        await sleep(50);
      }
    }
  })();
  await sleep(hungMs);
  server.resume();
  await Promise.race([waiting, sleep(8_000)]);
  // A holder that learns of its loss late has these seconds to tell.
  if (Number.isNaN(toldAt)) await sleep(3_000);
  const overlap = Number.isNaN(toldAt) ? performance.now() - grantedAt : toldAt - grantedAt;
  return {
    name: contender.name,
    figures: {
      'holder told at, ms': Number.isNaN(toldAt) ? 'never' : Math.round(toldAt - from),
      'next granted at, ms': Math.round(grantedAt - from),
      'both hold, ms': Math.max(0, Math.round(overlap)),
    },
  };
}

export default {
  about:
    'The server stops for 5,000 ms, while a lease of 2,000 ms is held and another one waits. From the stop: the holder is ' +
    'told, and the other one has the lock.',
  servers: ['dynoxide'],
  async run({ server, smoke }) {
    const all = [...(await ownContenders(await server.table())), ...(smoke ? [] : await peers(server))];
    const rows = [];
    for (const contender of all.filter(({ hold }) => hold)) {
      rows.push(await measure(contender, contender.server ?? server, smoke ? 3_000 : 5_000));
    }
    return rows;
  },
} satisfies Measure;
