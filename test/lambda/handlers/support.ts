/** Writes a line that the test reads. */
export const log = (line: object): void => console.log(JSON.stringify(line));

/** Waits until the gate of the test opens. Without a gate, waits for nothing. */
export async function pass(gate: string | undefined): Promise<void> {
  if (gate) await fetch(gate);
}
