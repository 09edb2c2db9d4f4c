/** One grant of a lock, as the process that had it tells. */
export interface Grant {
  readonly token: number;
  /** The moments at which the work began and ended, in milliseconds since the epoch. */
  readonly from: number;
  readonly to: number;
}

/** Reads the grants that processes printed, in the order of the tokens. */
export const grantsIn = (outputs: readonly string[]): Grant[] =>
  outputs
    .flatMap((output) => output.trim().split('\n'))
    .filter((line) => line.startsWith('{'))
    .map((line): Grant => JSON.parse(line))
    .sort((a, b) => a.token - b.token);

/** The pairs of grants that overlap, or whose tokens do not grow in the order of time. */
export const faultsIn = (grants: readonly Grant[]): (readonly [Grant, Grant])[] =>
  grants.slice(1).flatMap((grant, index) => {
    const before = grants[index] as Grant;
    return grant.token > before.token && grant.from >= before.to ? [] : [[before, grant] as const];
  });
