import type { Result } from './results.ts';

/** A figure that may not leave its bound: of a number `least` and `most`, of a text `is`. */
export interface Bound {
  readonly measure: string;
  /** The names of the rows. */
  readonly rows: RegExp;
  readonly column: string;
  readonly least?: number;
  readonly most?: number;
  readonly is?: string;
}

/** The figures that are out of bounds, in words. A figure that was not measured is out of bounds, too. */
export function misses(bounds: readonly Bound[], results: readonly Pick<Result, 'measure' | 'tables'>[]): string[] {
  return bounds.flatMap((bound) => {
    const { measure, rows, column, least = -Infinity, most = Infinity, is } = bound;
    const right = is ?? `${least} to ${most}`;
    const figures = results
      .filter((result) => result.measure === measure)
      .flatMap(({ tables }) => tables.flatMap(({ title, rows }) => rows.map((row) => ({ title, ...row }))))
      .filter(({ name, figures }) => rows.test(name) && figures[column] !== undefined);
    if (figures.length === 0) return [`${measure}, ${rows}, ${column}: not measured, and the bound is ${right}`];
    return figures.flatMap(({ title, name, figures }) => {
      const figure = figures[column];
      const value = typeof figure === 'object' ? figure.value : figure;
      const isRight = is === undefined ? Number(value) >= least && Number(value) <= most : value === is;
      return isRight ? [] : [`${measure} (${title}), ${name}, ${column}: ${value}, and the bound is ${right}`];
    });
  });
}
