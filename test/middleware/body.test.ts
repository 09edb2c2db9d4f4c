import { Readable } from 'node:stream';
import { afterEach, describe, expect, test } from '@jest/globals';
import { bodyIn, readableOf } from '../../middleware/body.ts';

const webStreams = Object.getOwnPropertyDescriptor(globalThis, 'ReadableStream') as PropertyDescriptor;
afterEach(() => {
  Object.defineProperty(globalThis, 'ReadableStream', webStreams);
});

describe('the body in a response', () => {
  const stream = () => Readable.from(['part']);

  test.each([
    ['undefined', undefined],
    ['null', null],
    ['a text', 'text'],
    ['an object', { statusCode: 200, body: 'text' }],
    ["an object with a stream's method", { getReader: () => {} }],
    ['a stream in an object that is no response', { body: stream() }],
  ])('is none in %s', (_, response) => {
    expect(bodyIn(response)).toBeUndefined();
  });

  test.each([
    ['of Node', stream()],
    ['of the web', new ReadableStream()],
  ])('is the response itself, or the body of an HTTP response, if that is a stream %s', (_, body) => {
    expect(bodyIn(body)).toBe(body);
    expect(bodyIn({ statusCode: 200, body })).toBe(body);
    expect(readableOf(body)).toBeInstanceOf(Readable);
  });

  // Node loads its web streams at the first look at their global, in some milliseconds of a cold start.
  test.each([
    ['nothing', undefined],
    ['an object', { statusCode: 200, body: 'text' }],
    ['a stream of Node', stream()],
  ])('is looked for in %s without a look at the web streams', (_, response) => {
    const get = () => {
      throw new Error('looked at');
    };
    Object.defineProperty(globalThis, 'ReadableStream', { get, configurable: true });
    const body = bodyIn(response);
    if (body) readableOf(body);
  });
});
