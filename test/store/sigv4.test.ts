import { createHash, createHmac, type Hash, type Hmac } from 'node:crypto';
import { expect, test } from '@jest/globals';
import { SignatureV4 } from '@smithy/signature-v4';
import fc from 'fast-check';
import { Signer } from '../../lib/dynamodb/sigv4.ts';

/** The hash that the SDK's signer is given. */
class Sha256 {
  readonly #hash: Hash | Hmac;
  constructor(secret?: string | Uint8Array) {
    this.#hash = secret === undefined ? createHash('sha256') : createHmac('sha256', secret);
  }
  update(data: string | Uint8Array): void {
    this.#hash.update(data);
  }
  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }
  reset(): void {}
}

const keyText = fc.stringMatching(/^[A-Za-z0-9/+=]{16,60}$/);
const cases = fc.record({
  region: fc.stringMatching(/^[a-z]{2}-[a-z]{4,9}-\d$/),
  host: fc.stringMatching(/^[a-z0-9]{1,20}(\.[a-z0-9-]{1,12}){0,3}(:\d{2,5})?$/),
  path: fc.stringMatching(/^(\/[\w.-]{1,9}){0,2}\/$/).filter((path) => !/\/\.+\//.test(path)),
  target: fc.stringMatching(/^DynamoDB_20120810\.[A-Z][A-Za-z]{3,15}$/),
  body: fc.string({ unit: 'grapheme', maxLength: 400 }),
  ms: fc.integer({ min: Date.UTC(2020, 0), max: Date.UTC(2099, 11, 31) }),
  accessKeyId: keyText,
  secretAccessKey: keyText,
  sessionToken: fc.option(keyText, { nil: undefined }),
});

test('the signatures of 3,000 random requests are equal to those of the SDK', async () => {
  const property = fc.asyncProperty(cases, async ({ region, host, path, target, body, ms, ...credentials }) => {
    const signer = new SignatureV4({
      service: 'dynamodb',
      region,
      credentials: credentials as never,
      sha256: Sha256 as never,
      applyChecksum: false,
    });
    const [hostname = '', port] = host.split(':');
    const signed = await signer.sign(
      {
        method: 'POST',
        protocol: 'https:',
        hostname,
        ...(port && { port: Number(port) }),
        path,
        query: {},
        headers: { host, 'content-type': 'application/x-amz-json-1.0', 'x-amz-target': target },
        body,
      },
      { signingDate: new Date(ms) },
    );
    const { 'content-length': length, ...headers } = new Signer(region).sign(
      { host, path, target, body },
      credentials,
      ms,
    );
    expect(headers).toEqual(signed.headers);
    expect(length).toBe(String(new TextEncoder().encode(body).length));
  });
  await fc.assert(property, { numRuns: 3_000 });
});

test('a signer follows the day, the Region and the secret', () => {
  const request = {
    host: 'dynamodb.eu-west-1.amazonaws.com',
    path: '/',
    target: 'DynamoDB_20120810.GetItem',
    body: '{}',
  };
  const keys = { accessKeyId: 'AKID', secretAccessKey: 'one' };
  const monday = Date.UTC(2026, 0, 5);
  const used = new Signer('eu-west-1');
  for (const [credentials, ms] of [
    [keys, monday],
    [keys, monday + 86_400_000],
    [{ ...keys, secretAccessKey: 'two' }, monday + 86_400_000],
    [keys, monday],
  ] as const) {
    expect(used.sign(request, credentials, ms)).toEqual(new Signer('eu-west-1').sign(request, credentials, ms));
  }
});
