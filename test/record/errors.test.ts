import { describe, expect, test } from '@jest/globals';
import { LockBusyError, LockDoneError, LockError, LockLostError, LockStoreError } from '../../lib/record/errors.ts';

describe('errors', () => {
  const every = () => [
    new LockBusyError({ key: 'job', owner: 'me', expiresAt: 5, retryAfterMs: 2_001 }),
    new LockDoneError({ key: 'job', once: '1', doneToken: '2' }),
    new LockLostError({ key: 'job', reason: 'expired', detail: 'its deadline has passed' }),
    new LockStoreError('no answer', { transient: true }),
  ];

  test('each error is an Error and a LockError under its own name', () => {
    const kinds = [LockBusyError, LockDoneError, LockLostError, LockStoreError];
    for (const [n, error] of every().entries()) {
      expect(error).toBeInstanceOf(Error);
      expect(error instanceof LockError).toBe(true);
      expect(kinds.map((kind) => error instanceof kind)).toEqual(kinds.map((_, m) => m === n));
      expect(error.name).toBe(kinds[n]?.name);
      expect(error.stack).toContain(error.message);
    }
  });

  test('two copies of the module recognise the errors of each other', async () => {
    // @ts-expect-error: the query makes another copy, and TypeScript knows no such file.
    const copy = (await import('../../lib/record/errors.ts?copy')) as typeof import('../../lib/record/errors.ts');
    expect(copy.LockError).not.toBe(LockError);
    const theirs = new copy.LockLostError({ key: 'job', reason: 'expired', detail: '' });
    expect(theirs instanceof LockLostError).toBe(true);
    expect(theirs instanceof LockError).toBe(true);
    expect(theirs instanceof LockBusyError).toBe(false);
    for (const error of every()) {
      expect(error instanceof copy.LockError).toBe(true);
      expect(error instanceof copy.LockBusyError).toBe(error.name === 'LockBusyError');
    }
  });

  test.each([[undefined], [null], ['LockBusyError'], [{ name: 'LockBusyError' }], [new Error('x')]])(
    'no other value is taken for a LockError: %p',
    (value) => {
      expect((value as unknown) instanceof LockError).toBe(false);
      expect((value as unknown) instanceof LockBusyError).toBe(false);
    },
  );

  test('a class that extends LockBusyError recognises its own instances alone', () => {
    class MyBusyError extends LockBusyError {}
    const [busy] = every();
    const mine = new MyBusyError({ key: 'job', expiresAt: 5, retryAfterMs: 0 });
    expect(busy instanceof MyBusyError).toBe(false);
    expect(mine instanceof MyBusyError).toBe(true);
    expect(mine instanceof LockBusyError).toBe(true);
  });

  test.each([
    [0, '1'],
    [1, '1'],
    [1_000, '1'],
    [1_001, '2'],
    [30_000, '30'],
  ])('%i ms make a Retry-After of %s, in whole seconds and never 0', (retryAfterMs, seconds) => {
    const { headers } = new LockBusyError({ key: 'job', expiresAt: 0, retryAfterMs });
    expect(headers).toEqual({ 'Retry-After': seconds });
  });

  test.each([
    [0, '1'],
    [1_001, '2'],
    [60_000, '30'],
    [-5_000, '1'],
  ])('a holder that has had the lock for %i ms makes a Retry-After of %s', (heldMs, seconds) => {
    const { headers } = new LockBusyError({ key: 'job', owner: 'me', expiresAt: 0, retryAfterMs: 30_000, heldMs });
    expect(headers).toEqual({ 'Retry-After': seconds });
  });

  test('the message of each error shows a key, a token and a cause escaped, and the properties keep them as they are', () => {
    const key = 'tenant/\u001b]0;x\u0007\nnightly  free';
    const once = '2026\u202e';
    const errors = [
      new LockBusyError({ key, expiresAt: 5, retryAfterMs: 2_001 }),
      new LockDoneError({ key, once, doneToken: '\u{10ffff}' }),
      new LockLostError({ key, reason: 'expired', detail: 'its deadline has passed\u009b' }),
      new LockStoreError(`Acquiring '${key}': no answer`),
    ];
    for (const error of errors) expect(error.message).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u);
    expect(errors[0]).toMatchObject({
      key,
      message: expect.stringContaining(String.raw`tenant/\u001b]0;x\u0007\u000anightly`),
    });
    expect(errors[1]).toMatchObject({ once, doneToken: '\u{10ffff}' });
  });
});
