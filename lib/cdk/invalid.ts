import type { IConstruct } from 'constructs';

/**
 * Makes the error of a bad argument. Its message begins with the construct's path: so the user of a large app finds the
 * line.
 */
export const invalid = (scope: IConstruct, message: string): TypeError =>
  new TypeError(`[${scope.node.path}] ${message}`);
