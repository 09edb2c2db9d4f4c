import type { StoreProblem } from '../lib/record/store.ts';
import { warn } from './terminal.ts';

/** Something that doctor looked at: a problem, or what is as it should be. */
export type Finding = StoreProblem | { readonly severity: 'ok'; readonly message: string };

/**
 * Asks for settings. A request that is refused, as without the right to describe, is a finding, and ends nothing.
 * @param settings the settings that the answer would show, for the message.
 */
export async function answerTo<Answer>(
  request: string,
  settings: string,
  findings: Finding[],
  send: () => Promise<Answer>,
): Promise<Answer | undefined> {
  try {
    return await send();
  } catch (error) {
    const { name, message } = error as Error;
    const unseen = `${request} was not answered, so ${settings} were not looked at: ${message}`;
    // An emulator has fewer requests than AWS, and nothing is wrong with the place of the locks.
    if (name === 'UnknownOperationException') warn(unseen);
    else findings.push({ severity: 'warning', message: unseen });
    return undefined;
  }
}

/** The problems of something that was looked at, or else that it is as it should be. */
export const orFine = (problems: readonly StoreProblem[], fine: string): readonly Finding[] =>
  problems.length > 0 ? problems : [{ severity: 'ok', message: fine }];
