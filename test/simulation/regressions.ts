import type { Schedule } from './schedule.ts';

/** The schedules that broke an invariant once, each shrunk by fast-check. */
export const regressions: readonly { readonly name: string; readonly schedule: Schedule }[] = [
  {
    name: 'a refused acquire is delivered again and granted: the wait is not busy with itself',
    schedule: {
      lambda: true,
      timing: 0,
      dated: false,
      hosts: [
        {
          clock: { permille: 0, hours: 0 },
          ratePpm: 0,
          deeds: [
            { do: 'try', afterMs: 2, forMs: 0, with: 'plain' },
            { do: 'try', afterMs: 0, forMs: 0, with: 'plain' },
          ],
        },
        { clock: { permille: 0, hours: 0 }, ratePpm: 0, deeds: [{ do: 'try', afterMs: 0, forMs: 0, with: 'plain' }] },
        {
          clock: { permille: 0, hours: 0 },
          ratePpm: 0,
          deeds: [
            { do: 'try', afterMs: 2, forMs: 0, with: 'plain' },
            { do: 'try', afterMs: 0, forMs: 0, with: 'plain' },
          ],
        },
        {
          clock: { permille: 0, hours: 0 },
          ratePpm: 0,
          deeds: [
            { do: 'try', afterMs: 0, forMs: 0, with: 'plain' },
            { do: 'wait', afterMs: 0, forMs: 1, with: 'plain' },
          ],
        },
      ],
      blows: [],
      fates: [
        { do: 'travel', thereMs: 0, backMs: 0, againMs: 0 },
        { do: 'travel', thereMs: 0, backMs: 300, againMs: 0 },
        { do: 'travel', thereMs: 0, backMs: 0, againMs: 0 },
        { do: 'travel', thereMs: 0, backMs: 0, againMs: 0 },
        { do: 'travel', thereMs: 0, backMs: 0, againMs: 0 },
        { do: 'travel', thereMs: 299, backMs: 0, againMs: 0 },
        { do: 'travel', thereMs: 0, backMs: 0, againMs: 0 },
        { do: 'travel', thereMs: 0, backMs: 0, againMs: 0 },
        { do: 'duplicate', thereMs: 0, backMs: 0, againMs: 4 },
      ],
      seed: 0,
    },
  },
  {
    name: 'the give back of a host an hour ahead is lost: the host is not busy with itself',
    schedule: {
      lambda: true,
      timing: 0,
      dated: true,
      hosts: [
        { clock: { permille: 0, hours: 1 }, ratePpm: 0, deeds: [{ do: 'try', afterMs: 0, forMs: 0, with: 'plain' }] },
        { clock: { permille: 0, hours: 0 }, ratePpm: 0, deeds: [{ do: 'try', afterMs: 0, forMs: 0, with: 'plain' }] },
      ],
      blows: [],
      fates: [
        { do: 'travel', thereMs: 0, backMs: 0, againMs: 0 },
        { do: 'travel', thereMs: 0, backMs: 0, againMs: 0 },
        { do: 'loseRequest', thereMs: 0, backMs: 0, againMs: 0 },
      ],
      seed: 0,
    },
  },
  {
    name: 'a host an hour behind is frozen during its acquire: the host does not believe in the expired grant',
    schedule: {
      lambda: true,
      timing: 0,
      dated: true,
      hosts: [
        {
          clock: { permille: 0, hours: -1 },
          ratePpm: 0,
          deeds: [
            { do: 'try', afterMs: 8, forMs: 0, with: 'holdAtMost' },
            { do: 'try', afterMs: 0, forMs: 0, with: 'plain' },
          ],
        },
        { clock: { permille: 0, hours: 0 }, ratePpm: 0, deeds: [{ do: 'try', afterMs: 8, forMs: 0, with: 'plain' }] },
      ],
      blows: [{ do: 'freezeStill', host: 0, atMs: 8, forMs: 101, clock: { permille: 0, hours: 0 } }],
      fates: [
        { do: 'travel', thereMs: 0, backMs: 0, againMs: 0 },
        { do: 'travel', thereMs: 91, backMs: 10, againMs: 0 },
      ],
      seed: 0,
    },
  },
  {
    name: 'a host that is a little behind takes a short lease that is over by the true time: the client gives out no lease',
    schedule: {
      lambda: true,
      timing: 2,
      dated: true,
      hosts: [
        {
          clock: { permille: 0, hours: 0 },
          ratePpm: 0,
          deeds: [{ do: 'release', afterMs: 0, forMs: 0, with: 'plain' }],
        },
        {
          clock: { permille: -99, hours: 0 },
          ratePpm: 0,
          deeds: [{ do: 'try', afterMs: 0, forMs: 0, with: 'holdAtMost' }],
        },
      ],
      blows: [],
      fates: [],
      seed: 0,
    },
  },
  // 1. h2 is an hour ahead, takes over the live lease of h1, and gives the lease back.
  // 2. An operator force-releases the lease of h1.
  // 3. The duplicate of h2's acquire arrives, and is granted over the record that the force release left.
  //
  // The second give back must restore that record. If it restored the lease of h1, the store would apply h1's late release.
  {
    name: 'a host an hour ahead gives a grant back twice, around a force release: the ended lease is not revived',
    schedule: {
      lambda: true,
      timing: 2,
      dated: true,
      hosts: [
        {
          clock: { permille: 0, hours: 0 },
          ratePpm: 0,
          deeds: [
            { do: 'try', afterMs: 0, forMs: 0, with: 'plain' },
            { do: 'try', afterMs: 0, forMs: 0, with: 'plain' },
            { do: 'wait', afterMs: 0, forMs: 1, with: 'plain' },
            { do: 'force', afterMs: 0, forMs: 0, with: 'plain' },
            { do: 'try', afterMs: 62, forMs: 0, with: 'plain' },
          ],
        },
        {
          clock: { permille: 0, hours: 1 },
          ratePpm: 0,
          deeds: [{ do: 'try', afterMs: 1262, forMs: 0, with: 'plain' }],
        },
        {
          clock: { permille: 0, hours: 0 },
          ratePpm: 0,
          deeds: [
            { do: 'cancelWait', afterMs: 1032, forMs: 0, with: 'plain' },
            { do: 'try', afterMs: 0, forMs: 0, with: 'plain' },
          ],
        },
        {
          clock: { permille: 0, hours: 0 },
          ratePpm: 0,
          deeds: [
            { do: 'try', afterMs: 30, forMs: 0, with: 'plain' },
            { do: 'try', afterMs: 34, forMs: 0, with: 'plain' },
          ],
        },
      ],
      blows: [],
      fates: [
        { do: 'travel', thereMs: 40, backMs: 40, againMs: 0 },
        { do: 'travel', thereMs: 11, backMs: 8, againMs: 0 },
        { do: 'travel', thereMs: 35, backMs: 33, againMs: 0 },
        { do: 'travel', thereMs: 0, backMs: 0, againMs: 0 },
        { do: 'loseRequest', thereMs: 0, backMs: 0, againMs: 0 },
        { do: 'travel', thereMs: 0, backMs: 0, againMs: 0 },
        { do: 'hang', thereMs: 0, backMs: 0, againMs: 0 },
        { do: 'travel', thereMs: 281, backMs: 19, againMs: 0 },
        { do: 'travel', thereMs: 25, backMs: 107, againMs: 0 },
        { do: 'travel', thereMs: 360, backMs: 15, againMs: 0 },
        { do: 'travel', thereMs: 0, backMs: 1, againMs: 0 },
        { do: 'conflict', thereMs: 22, backMs: 38, againMs: 0 },
        { do: 'hangAnswer', thereMs: 0, backMs: 0, againMs: 0 },
        { do: 'hangAnswer', thereMs: 0, backMs: 0, againMs: 0 },
        { do: 'travel', thereMs: 40, backMs: 5, againMs: 0 },
        { do: 'travel', thereMs: 0, backMs: 6, againMs: 0 },
        { do: 'duplicate', thereMs: 5, backMs: 0, againMs: 33 },
        { do: 'hangAnswer', thereMs: 0, backMs: 0, againMs: 0 },
      ],
      seed: 188834176,
    },
  },
  {
    name: 'a host an hour ahead cannot give back a lease that the record no longer shows: the lock stays closed',
    schedule: {
      lambda: true,
      timing: 2,
      dated: true,
      hosts: [
        {
          clock: { permille: 625, hours: 1 },
          ratePpm: 0,
          deeds: [
            { do: 'release', afterMs: 60, forMs: 0, with: 'plain' },
            { do: 'try', afterMs: 84, forMs: 0, with: 'plain' },
            { do: 'try', afterMs: 0, forMs: 0, with: 'plain' },
          ],
        },
        {
          clock: { permille: 0, hours: 0 },
          ratePpm: 0,
          deeds: [
            { do: 'try', afterMs: 0, forMs: 0, with: 'plain' },
            { do: 'try', afterMs: 114, forMs: 0, with: 'plain' },
          ],
        },
        {
          clock: { permille: -563, hours: 1 },
          ratePpm: 0,
          deeds: [
            { do: 'try', afterMs: 8, forMs: 0, with: 'invocation' },
            { do: 'try', afterMs: 0, forMs: 0, with: 'plain' },
          ],
        },
      ],
      blows: [],
      fates: [
        { do: 'travel', thereMs: 30, backMs: 0, againMs: 0 },
        { do: 'travel', thereMs: 23, backMs: 277, againMs: 0 },
        { do: 'travel', thereMs: 0, backMs: 1, againMs: 0 },
        { do: 'hang', thereMs: 0, backMs: 0, againMs: 0 },
      ],
      seed: 0,
    },
  },
  {
    name: 'a host an hour behind resumes into the past: no late acquire is granted',
    schedule: {
      lambda: true,
      timing: 0,
      dated: true,
      hosts: [
        {
          clock: { permille: 0, hours: 0 },
          ratePpm: 0,
          deeds: [
            { do: 'try', afterMs: 0, forMs: 0, with: 'plain' },
            { do: 'handOff', afterMs: 0, forMs: 0, with: 'plain' },
          ],
        },
        {
          clock: { permille: 0, hours: -1 },
          ratePpm: 0,
          deeds: [
            { do: 'resume', afterMs: 621, forMs: 0, with: 'plain' },
            { do: 'try', afterMs: 0, forMs: 0, with: 'plain' },
          ],
        },
      ],
      blows: [],
      fates: [
        { do: 'travel', thereMs: 265, backMs: 35, againMs: 0 },
        { do: 'travel', thereMs: 324, backMs: 0, againMs: 0 },
      ],
      seed: 0,
    },
  },
  {
    name: 'one slow answer cannot tell a host that it is behind: the host does not believe beyond the expiry',
    schedule: {
      timing: 3,
      dated: true,
      lambda: true,
      patient: true,
      hosts: [
        {
          clock: { permille: -500, hours: 0 },
          ratePpm: 0,
          deeds: [
            { do: 'try', afterMs: 509, forMs: 0, with: 'plain' },
            { do: 'look', afterMs: 30000, forMs: 0, with: 'plain' },
          ],
        },
        {
          clock: { permille: 250, hours: 0 },
          ratePpm: 0,
          deeds: [
            { do: 'try', afterMs: 7159, forMs: 0, with: 'plain' },
            { do: 'look', afterMs: 30000, forMs: 0, with: 'plain' },
          ],
        },
      ],
      blows: [{ do: 'cutOff', host: 0, atMs: 1500, forMs: 60000, clock: { permille: 0, hours: 0 } }],
      fates: [{ do: 'travel', thereMs: 4, backMs: 987, againMs: 0 }],
      seed: 0,
    },
  },
  {
    name: 'the give back of a host an hour ahead is lost: the lock does not stay closed for an hour',
    schedule: {
      timing: 0,
      dated: true,
      lambda: false,
      patient: false,
      hosts: [
        { clock: { permille: 0, hours: 0 }, ratePpm: 0, deeds: [{ do: 'try', afterMs: 0, forMs: 0, with: 'plain' }] },
        { clock: { permille: 0, hours: 1 }, ratePpm: 0, deeds: [{ do: 'try', afterMs: 0, forMs: 0, with: 'plain' }] },
      ],
      blows: [],
      fates: [
        { do: 'travel', thereMs: 1, backMs: 0, againMs: 0 },
        { do: 'travel', thereMs: 0, backMs: 0, againMs: 0 },
        { do: 'loseRequest', thereMs: 0, backMs: 0, againMs: 0 },
      ],
      seed: 0,
    },
  },
  {
    name: "a relay's clock is 10 minutes ahead, and the host's own clock is right: the host takes no live lease",
    schedule: {
      timing: 0,
      dated: true,
      lambda: false,
      patient: false,
      hosts: [
        {
          clock: { permille: 0, hours: 0 },
          ratePpm: 0,
          deeds: [
            { do: 'try', afterMs: 42, forMs: 0, with: 'plain' },
            { do: 'try', afterMs: 47, forMs: 0, with: 'plain' },
            { do: 'try', afterMs: 44, forMs: 0, with: 'plain' },
          ],
        },
        {
          clock: { permille: 0, hours: 0 },
          ratePpm: 0,
          deeds: [{ do: 'try', afterMs: 0, forMs: 0, with: 'plain' }],
          relayS: 600,
        },
      ],
      blows: [],
      fates: [{ do: 'travel', thereMs: 14, backMs: 34, againMs: 0 }],
      seed: 0,
    },
  },
  {
    name: 'a judge read hides that a clock is behind, and the clock stands still during the acquire: no two hosts believe at once',
    schedule: {
      timing: 3,
      dated: true,
      lambda: false,
      patient: true,
      hosts: [
        {
          clock: { permille: -500, hours: 0 },
          ratePpm: 0,
          deeds: [
            { do: 'try', afterMs: 509, forMs: 0, with: 'plain' },
            { do: 'look', afterMs: 30000, forMs: 0, with: 'plain' },
          ],
        },
        {
          clock: { permille: 250, hours: 0 },
          ratePpm: 0,
          deeds: [
            { do: 'try', afterMs: 8150, forMs: 0, with: 'plain' },
            { do: 'look', afterMs: 30000, forMs: 0, with: 'plain' },
          ],
        },
      ],
      blows: [
        { do: 'freezeStill', host: 0, atMs: 1520, forMs: 101, clock: { permille: 0, hours: 0 } },
        { do: 'cutOff', host: 0, atMs: 2100, forMs: 60000, clock: { permille: 0, hours: 0 } },
      ],
      fates: [
        { do: 'travel', thereMs: 4, backMs: 987, againMs: 0 },
        { do: 'travel', thereMs: 5, backMs: 200, againMs: 0 },
      ],
      seed: 0,
    },
  },
];
