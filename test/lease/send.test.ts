import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { type SendOptions, send } from '../../lib/lease/send.ts';
import { ServerClock } from '../../lib/lease/server-clock.ts';
import { LockStoreError } from '../../lib/record/errors.ts';
import { noteFault } from '../../lib/record/last-fault.ts';
import { FakeClock } from '../../lib/testing/fake-clock.ts';
import { outcomeOf, settle } from './setup.ts';

afterEach(() => {
  jest.restoreAllMocks();
});

type Answer = { maybeAppliedBefore?: boolean };
type Reply = 'hang' | 'conflict' | LockStoreError | Answer;

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
    if (reply instanceof LockStoreError) return Promise.reject(reply);
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
      message:
        'Asking: no answer came within 100 ms. Check the network, or allow more time (requestTimeoutMs, leaseMs, holdAtMostMs).',
      transient: true,
      cause: undefined,
    });
    expect(requests.map(({ at }) => at)).toEqual([0, 100, 200]);
  });

  test("is given up: its signal aborts, and an answered request's signal does not", async () => {
    const { requests, ended } = sending(['hang', {}]);
    await ended();
    expect(requests.map(({ signal }) => signal.aborted)).toEqual([true, false]);
  });

  test('may have been applied before the answer came, and the answer says so', async () => {
    expect(await sending(['hang', {}]).ended()).toEqual({ maybeAppliedBefore: true });
    expect(await sending([{ maybeAppliedBefore: true }]).ended()).toEqual({ maybeAppliedBefore: true });
    expect(await sending([{}]).ended()).toEqual({});
  });

  test('shares the time that is left equally with the requests to come', async () => {
    const { requests, ended } = sending(['hang'], { withinMs: 300 });
    await ended();
    expect(requests.map(({ at }) => at)).toEqual([0, 100, 200]);
  });
});

describe('a request to which the store answers with a fault that may pass', () => {
  const throttled = new LockStoreError('ThrottlingException', { transient: true });
  const timesOf = (requests: readonly { at: number }[]) => requests.map(({ at }) => at);

  test('is sent three times, soon and then after a longer pause', async () => {
    jest.spyOn(Math, 'random').mockReturnValue(0.5);
    const { requests, ended } = sending([throttled]);
    expect(await ended()).toMatchObject({ message: 'Asking: ThrottlingException', transient: true });
    expect(timesOf(requests)).toEqual([0, 50, 450]);
  });

  test('counts each sending, since the store may have applied the request', async () => {
    expect(await sending([throttled, {}]).ended()).toEqual({ maybeAppliedBefore: true });
  });

  test("is not sent again if the store's own client has sent the request three times", async () => {
    const { requests, ended } = sending([new LockStoreError('busy', { transient: true, attempts: 3 })]);
    await ended();
    expect(requests).toHaveLength(1);
  });

  test('is not sent again if the fault will not pass, or if the caller tries again by itself', async () => {
    const denied = sending([new LockStoreError('denied')]);
    await denied.ended();
    expect(denied.requests).toHaveLength(1);
    const renewal = sending([throttled], { resendsFaults: false });
    await renewal.ended();
    expect(renewal.requests).toHaveLength(1);
  });

  test('is not sent when the caller waits no longer, and the error tells of the fault', async () => {
    jest.spyOn(Math, 'random').mockReturnValue(0.5);
    const left = [300, 250, 0];
    const { requests, ended } = sending([throttled], {
      caller: {
        get leftMs() {
          return left.shift() ?? 0;
        },
      },
    });
    expect(await ended()).toMatchObject({ message: 'Asking: ThrottlingException' });
    expect(timesOf(requests)).toEqual([0, 50]);
  });
});

describe('a request that hangs after a fault', () => {
  const cause = Object.assign(new Error('slow down'), { name: 'ThrottlingException' });
  const throttled = new LockStoreError('throttled', { transient: true, cause });

  test('tells of the fault, and names the options of the time that was over', async () => {
    const error = await sending([throttled, 'hang'], { requestTimeoutMs: 100 }).ended();
    expect(error).toMatchObject({ transient: true, cause });
    expect(error.message).toBe(
      'Asking: no answer came within 100 ms. Check the network, or allow more time (requestTimeoutMs, leaseMs, holdAtMostMs). The last fault was ThrottlingException: slow down',
    );
    const hurried = await sending([throttled, 'hang'], { caller: { leftMs: 100 } }).ended();
    expect(hurried.message).toMatch(/allow more time \(waitMs, withinMs\)\. The last fault was ThrottlingException/);
  });

  test('tells of the fault of an earlier request of the same caller, and is not sent with less than 20 ms left', async () => {
    const caller = { leftMs: 100 };
    await sending([throttled], { caller }).ended();
    expect((await sending(['hang'], { caller }).ended()).cause).toBe(cause);
    caller.leftMs = 19;
    const { requests, ended } = sending(['hang'], { caller });
    expect(await ended()).toMatchObject({
      message:
        'Asking: no time is left to send the request. Allow more time. The last fault was ThrottlingException: slow down',
      cause,
      transient: true,
    });
    expect(requests).toHaveLength(0);
  });
});

test("a request that hangs inside of the store's own client tells of the last fault that the client met", async () => {
  const clock = new FakeClock();
  const fault = Object.assign(new Error('slow down'), { name: 'ThrottlingException' });
  const request = (signal: AbortSignal) => {
    noteFault(signal, fault);
    return new Promise<Answer>(() => {});
  };
  const context = { clock, serverClock: new ServerClock(clock) };
  const error = await settle(
    clock,
    send(context, 'Asking', request).catch((error) => error),
  );
  expect(error.cause).toBe(fault);
  expect(error.message).toMatch(
    /no answer came within 1000 ms\. .* The last fault was ThrottlingException: slow down$/,
  );
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
    attempts: 2,
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

  test('is not sent with less than 20 ms left, and the error tells of the conflict', async () => {
    jest.spyOn(Math, 'random').mockReturnValue(0.5);
    const { requests, ended } = sending(['conflict'], { withinMs: 40 });
    expect(await ended()).toMatchObject({ message: 'Asking: conflict', conflict: true });
    expect(requests.map(({ at }) => at)).toEqual([0, 10]);
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
