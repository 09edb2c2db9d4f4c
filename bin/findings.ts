import type { StoreProblem } from '../lib/record/store.ts';

/** Something that doctor looked at: a problem, or what is as it should be. */
export type Finding = StoreProblem | { readonly severity: 'ok'; readonly message: string };

/** Asks for settings. A request that is refused, as without the right to describe, is a finding, and ends nothing. */
export async function answerTo<Answer>(
  request: string,
  findings: Finding[],
  send: () => Promise<Answer>,
): Promise<Answer | undefined> {
  try {
    return await send();
  } catch (error) {
    const message = `${request} was not answered, so its settings were not looked at: ${(error as Error).message}`;
    findings.push({ severity: 'warning', message });
    return undefined;
  }
}
