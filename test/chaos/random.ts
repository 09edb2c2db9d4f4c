/** A generator of numbers from 0 to 1 that repeats itself for the same seed: xorshift32, Marsaglia 2003. */
export function randomOf(...seed: readonly number[]): () => number {
  let state = seed.reduce((mixed, part) => Math.imul(mixed ^ (part + 0x9e37), 0x85ebca6b) ^ (mixed >>> 13), 0x2545f491);
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  for (let warm = 0; warm < 8; warm++) next();
  return next;
}

/** One of several, each as likely. */
export const oneOf = <T>(random: () => number, values: readonly T[]): T =>
  values[Math.floor(random() * values.length)] as T;

/** A whole number from `from` to `to`. */
export const between = (random: () => number, from: number, to: number): number =>
  Math.floor(from + random() * (to - from + 1));
