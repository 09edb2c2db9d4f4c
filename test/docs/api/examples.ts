import type { ApiItem } from './extract.ts';
import { isOptions } from './reference.ts';

/** The classes whose methods have examples of their own. */
const WITH_METHODS = ['LockClient', 'Lease'];

/** The exports, and the methods of the client and the lease, that a user calls or writes and that have no example. */
export function withoutExample(declarations: readonly ApiItem[]): string[] {
  const exports = declarations.filter(({ kind }) => kind === 'Namespace').flatMap(({ members = [] }) => members);
  const used = exports.filter((item) => ['Function', 'Class'].includes(item.kind) || isOptions(item));
  const methods = exports
    .filter(({ kind, name = '' }) => kind === 'Class' && WITH_METHODS.includes(name))
    .flatMap(({ name: owner, members = [] }) =>
      members
        .filter(({ kind, name = '' }) => kind === 'Method' && !name.startsWith('['))
        .map((method) => ({ ...method, name: `${owner}.${method.name}` })),
    );
  const all = [...used, ...methods];
  // One overload has the example for all overloads.
  const shown = new Set(all.filter(({ docComment = '' }) => hasExample(docComment)).map(({ name }) => name));
  return [...new Set(all.map(({ name = '' }) => name))].filter((name) => !shown.has(name));
}

/** Tells whether a docstring has an example in a fenced block, which the tests compile. */
const hasExample = (docstring: string): boolean => /@example[\s*]*```ts/.test(docstring);
