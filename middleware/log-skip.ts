import { call } from '../lib/lease/callback.ts';
import { show } from '../lib/record/check.ts';
import { LockBusyError } from '../lib/record/errors.ts';
import { canonicalToken, type OnceToken, shownToken } from '../lib/record/token.ts';

/**
 * Says, on Lambda and at level debug, that work was skipped. Otherwise a skipped run looks like a run that did its work.
 * @param reason the `LockBusyError`; anything else if the work was done for the `once` token.
 */
export function logSkip(key: string, once: OnceToken | undefined, reason: unknown): void {
  if (process.env.AWS_LAMBDA_FUNCTION_NAME === undefined) return;
  let why = 'done';
  if (reason instanceof LockBusyError) {
    const { owner, key: busy } = reason;
    why = `busy, ${owner === undefined ? 'closed by holdAtLeastMs' : `held by ${show(owner)}`}`;
    // In a FIFO queue, a record behind a busy record of its group.
    if (busy !== key) why = `held back behind ${show(busy)}, which is ${why}`;
  }
  const token = once === undefined ? '' : ` for ${show(shownToken(canonicalToken(once)))}`;
  // A console that throws makes no skip an error.
  call(() => console.debug(`Skipped ${show(key)}${token}: ${why}.`));
}
