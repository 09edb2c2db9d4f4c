import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { type SendOptions, send } from '../../lib/lease/send.ts';
import { ServerClock } from '../../lib/lease/server-clock.ts';
import { LockStoreError } from '../../lib/record/errors.ts';
import { FakeClock } from '../../lib/testing/fake-clock.ts';
import { outcomeOf, settle } from './setup.ts';

afterEach(() => {
  jest.restoreAllMocks();
});

type Answer = { attempts?: number };
type Reply = 'hang' | 'conflict' | Answer;

/**
 * Sends to a server that gives one reply after the other, and the last reply for ever. Logs each request's time and
 * signal.
 */
function sending(replies: readonly Reply[], options: SendOptions = {}) {
  const clock = new FakeClock();
  const start = clock.now();
  const requests: { readonly at: number; readonly signal: AbortSignal }[] = [];
  const request = (signal: AbortSignal): Promise<Answer> => {
    const reply = replies[Math.min(requests.length, replies.length - 1)] as Reply;
    requests.push({ at: clock.now() - start, signal });
    if (reply === 'hang') return new Promise(() => {});
    if (reply === 'conflict')
      return Promise.reject(new LockStoreError('conflict', { conflict: true, transient: true }));
    return Promise.resolve(reply);
  };
  const answer = send({ clock, serverClock: new ServerClock(clock) }, 'Asking', request, options);
  return {
    clock,
    requests,
    answer,
    ended: () =>
      settle(
        clock,
        answer.catch((error) => error),
      ),
  };
}

describe('a request whose answer does not come', () => {
  test('is sent three times, and the error says so and is transient', async () => {
    const { requests, ended } = sending(['hang'], { requestTimeoutMs: 100 });
    const error = await ended();
    expect(error).toBeInstanceOf(LockStoreError);
    expect(error).toMatchObject({
      message: 'Asking: no answer came, 3 times. Check the network, or raise requestTimeoutMs.',
      transient: true,
      cause: undefined,
    });
    expect(requests.map(({ at }) => at)).toEqual([0, 100, 200]);
  });

  test("is given up: its signal aborts, and an answered request's signal does not", async () => {
    const { requests, ended } = sending(['hang', { attempts: 1 }]);
    await ended();
    expect(requests.map(({ signal }) => signal.aborted)).toEqual([true, false]);
  });

  test("is counted among the answer's attempts", async () => {
    expect(await sending(['hang', { attempts: 2 }]).ended()).toEqual({ attempts: 3 });
    expect(await sending([{}]).ended()).toEqual({ attempts: 1 });
  });

  test('shares the time that is left equally with the requests to come', async () => {
    const { requests, ended } = sending(['hang'], { withinMs: 300 });
    await ended();
    expect(requests.map(({ at }) => at)).toEqual([0, 100, 200]);
  });
});

test('an error of the store keeps its facts, and its message begins with the operation', async () => {
  const clock = new FakeClock();
  const facts = {
    cause: new Error('AccessDenied'),
    transient: true,
    conflict: false,
    misdated: true,
    serverDate: 1_000,
    relayed: true,
    foreign: true,
  };
  const refused = () => Promise.reject(new LockStoreError('refused', facts));
  const context = { clock, serverClock: new ServerClock(clock) };
  const error = await send(context, 'Asking', refused, { throwMisdated: true }).catch((error: unknown) => error);
  expect(error).toBeInstanceOf(LockStoreError);
  expect(error).toMatchObject({ message: 'Asking: refused', ...facts });
});

describe('a request that meets another transaction', () => {
  test('is sent ten times, after pauses that grow', async () => {
    jest.spyOn(Math, 'random').mockReturnValue(0.5);
    const { requests, ended } = sending(['conflict']);
    expect(await ended()).toMatchObject({ message: 'Asking: conflict', conflict: true });
    const pauses = requests.slice(1).map(({ at }, index) => at - (requests[index]?.at ?? 0));
    expect(pauses).toEqual([10, 20, 40, 80, 100, 100, 100, 100, 100]);
  });

  test('is sent ten times, however often a request hung before', async () => {
    const { requests, ended } = sending(['hang', 'hang', 'conflict']);
    await ended();
    expect(requests).toHaveLength(12);
  });

  test('is not sent when no time is left, and the error says so and is transient', async () => {
    jest.spyOn(Math, 'random').mockReturnValue(0.5);
    const { requests, ended } = sending(['conflict'], { withinMs: 40 });
    expect(await ended()).toMatchObject({
      message: 'Asking: no time is left to send the request. Allow more time.',
      transient: true,
    });
    expect(requests.map(({ at }) => at)).toEqual([0, 10, 30]);
  });

  test('is given up in a pause when the caller aborts its signal', async () => {
    const cancel = new AbortController();
    const { clock, answer } = sending(['conflict'], { signal: cancel.signal });
    const outcome = outcomeOf(answer);
    await clock.advance(1);
    cancel.abort('enough');
    await clock.advance(0);
    expect(outcome.error).toBe('enough');
    expect(clock.timers).toBe(0);
  });
});
