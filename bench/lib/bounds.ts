import type { Table } from './table.ts';

/** A figure that may not leave its bound. */
export interface Bound {
  readonly measure: string;
  /** The server, or every server. */
  readonly server?: string;
  readonly row: string;
  readonly column: string;
  readonly least?: number;
  readonly most?: number;
}

/** The figures that are out of bounds, each with its bound, in words. */
export function misses(
  bounds: readonly Bound[],
  results: readonly { measure: string; server: string; table: Table }[],
): string[] {
  return bounds.flatMap(({ measure, server, row, column, least = -Infinity, most = Infinity }) =>
    results
      .filter((result) => result.measure === measure && (server === undefined || result.server === server))
      .flatMap(({ server, table }) => {
        const figure = table.rows.find(({ name }) => name === row)?.figures[column];
        const value = typeof figure === 'object' ? figure.value : Number(figure);
        // A figure that is missing is out of bounds, too.
        if (value >= least && value <= most) return [];
        return `${measure} (${server}), ${row}, ${column}: ${value}, and the bound is ${least} to ${most}`;
      }),
  );
}
