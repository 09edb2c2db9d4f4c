// A user's function with the SDK's client and without Middy. The environment names the server and the lock table.
import { strict as assert } from 'node:assert';
import { type LambdaContext, lock, withLock } from 'leasehold/middy';

interface Job {
  name: string;
}

export async function run(): Promise<void> {
  const handler = withLock({ key: ({ name }: Job) => name }, async (event: Job, context) => {
    assert.ok(context.lock.isHeld());
    return `${event.name}: ${context.lock.fencingToken}`;
  });
  const name = `middy/${process.pid}`;
  const context = { getRemainingTimeInMillis: () => 10_000 } as LambdaContext;
  assert.match(await handler({ name }, context), /^middy.*: \d+$/);
  assert.equal(typeof lock({ key: name }).before, 'function');
}
