// A user's function with Middy, which is to be had as an ES module only.
import { strict as assert } from 'node:assert';
import middy from '@middy/core';
import { type LambdaContext, lock, lockPlugin } from 'leasehold/middy';

export async function run(): Promise<void> {
  const handler = middy<{ name: string }>(lockPlugin())
    .use(lock({ key: `middy-core/${process.pid}` }))
    .handler(async (event, context) => {
      const token: number = context.lock.fencingToken;
      return `${event.name}: ${token}`;
    });
  const context = { getRemainingTimeInMillis: () => 10_000 } as LambdaContext;
  assert.match(String(await handler({ name: 'nightly' }, context as never)), /^nightly: \d+$/);
}
