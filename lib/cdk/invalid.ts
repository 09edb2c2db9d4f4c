import type { IConstruct } from 'constructs';

/** The error of a bad argument: it names the construct's path, so that a large app's user finds the line. */
export const invalid = (scope: IConstruct, message: string): TypeError =>
  new TypeError(`[${scope.node.path}] ${message}`);
