import type { StoreProblem } from '../lib/record/store.ts';

/** Asks for settings. A request that is refused, as without the right to describe, is a finding, and ends nothing. */
export async function answerTo<Answer>(
  request: string,
  problems: StoreProblem[],
  send: () => Promise<Answer>,
): Promise<Answer | undefined> {
  try {
    return await send();
  } catch (error) {
    const message = `${request} was not answered, so its settings were not looked at: ${(error as Error).message}`;
    problems.push({ severity: 'warning', message });
    return undefined;
  }
}
