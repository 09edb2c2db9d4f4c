/** For the test to read. */
export const log = (line: object): void => console.log(JSON.stringify(line));

/** Waits at a test's gate, if there is one, until it opens. */
export async function pass(gate: string | undefined): Promise<void> {
  if (gate) await fetch(gate);
}
