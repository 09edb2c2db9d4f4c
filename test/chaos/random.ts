import { mulberry32 } from '../support/mulberry32.ts';

/** A generator of numbers from 0 to 1. The seed has several parts; the same seed gives the same numbers. */
export const randomOf = (...seed: readonly number[]): (() => number) =>
  mulberry32(seed.reduce((mixed, part) => Math.imul(mixed ^ (part + 0x9e37), 0x85ebca6b) ^ (mixed >>> 13), 0x2545f491));

/** One of several values, all equally likely. */
export const oneOf = <T>(random: () => number, values: readonly T[]): T =>
  values[Math.floor(random() * values.length)] as T;

/** A whole number from `from` to `to`. */
export const between = (random: () => number, from: number, to: number): number =>
  Math.floor(from + random() * (to - from + 1));
