import { cleanUp } from './clean-up.ts';
import {
  batchesOf,
  begin,
  type Held,
  heldBy,
  hold,
  holdingsOf,
  isBatch,
  isEarlyTimeout,
  type LockRequest,
} from './request.ts';
import { warnWithoutPlugin } from './warn-without-plugin.ts';

/**
 * Takes before the handler. Calls `hold` with what must end with the handler.
 * @returns a response in the handler's place; undefined where the handler is to run.
 * @throws when the handler is not to run and that is an error.
 */
export type Guard = (event: unknown, context: object, hold: (held: Held) => void) => Promise<Answer | undefined>;

/** A response in the handler's place. */
interface Answer {
  readonly response: unknown;
}

/** Takes, and shows the handler only those records whose locks were granted. */
export async function before(guard: Guard, request: LockRequest): Promise<void> {
  warnWithoutPlugin(request);
  let instead: Answer | undefined;
  try {
    instead = await guard(request.event, request.context as object, (held) => hold(request, guard, held));
    if (!instead) showRecords(guard, request, 'given');
  } catch (error) {
    // Whatever throws between a grant and the handler, nothing is kept: Middy may call no hook of this lock any more.
    giveUp(request);
    await heldByGuard(guard, request)?.release();
    throw error;
  }
  if (instead) await endEarly(request, instead);
  else if (!holdingsOf(request).tellsBegin) begin(request);
}

/** Ends what the guard took, after a success. */
export async function after(guard: Guard, request: LockRequest): Promise<void> {
  const held = heldByGuard(guard, request);
  if (!held) return;
  // The plugin's hook may have been replaced by another `beforeHandler`.
  begin(request);
  // Middy waits for a Promise only; any other thenable is still at work.
  const response = await request.response;
  request.response = await held.succeed(response, await failedIn(request), holdingsOf(request).handled);
  showRecords(guard, request, 'records');
}

/** Ends what the guard took, after a failure. */
export async function onError(guard: Guard, request: LockRequest): Promise<void> {
  const held = heldByGuard(guard, request);
  if (!held) return;
  await release(held, request);
  showRecords(guard, request, 'records');
  // A middleware that made a response of the error knows only of the records that the handler was given.
  if (request.response === undefined || !isBatch(held)) return;
  request.response = await held.succeed(request.response, await failedIn(request));
}

/** Ends a request that has no hook left to run, though a handler that Middy has left behind may still run. */
export async function requestEnded(request: LockRequest): Promise<void> {
  try {
    const fails = request.error !== undefined && request.response === undefined;
    const failed = await failedIn(request);
    for (const batch of fails ? [] : batchesOf(request)) await batch.conclude(request.response, failed);
  } finally {
    await releaseAll(request);
  }
}

export async function releaseAll(request: LockRequest): Promise<void> {
  await Promise.all(heldBy(request).map((held) => release(held, request)));
}

/** Ends a request before its handler. Middy then calls no other hook, not even the hooks of earlier locks. */
async function endEarly(request: LockRequest, { response }: Answer): Promise<void> {
  giveUp(request);
  let answer = response;
  for (const batch of batchesOf(request)) answer = await batch.succeed(answer, new Set());
  request.earlyResponse = answer;
  await releaseAll(request);
  await cleanUp(request);
}

/** Notes that the handler will not run, whatever was to tell that it begins. */
function giveUp(request: LockRequest): void {
  for (const held of heldBy(request)) held.isUnused = true;
}

/**
 * Invariant 9: a lease that may still be used is not released, not even an expired lease, whose lock may be ours all the
 * same.
 */
async function release(held: Held, request: LockRequest): Promise<void> {
  if (isEarlyTimeout(request.error)) held.abandon('timedOut');
  await held.release(request.response, holdingsOf(request).handled);
}

/** The message ids of the records that have failed, in whichever of the request's batches. */
async function failedIn(request: LockRequest): Promise<Set<string>> {
  const failed = await Promise.all(batchesOf(request).map((batch) => batch.failures()));
  return new Set(failed.flat());
}

const heldByGuard = (guard: Guard, request: LockRequest): Held | undefined => holdingsOf(request).by.get(guard);

/**
 * Puts the records of a batch into the event: the given ones for the handler, and then all records for the middlewares
 * before the guard, which would otherwise tell SQS that the others have succeeded.
 */
function showRecords(guard: Guard, request: LockRequest, which: 'given' | 'records'): void {
  const held = heldByGuard(guard, request);
  if (held && isBatch(held)) request.event = { ...(request.event as object), Records: held[which] };
}
