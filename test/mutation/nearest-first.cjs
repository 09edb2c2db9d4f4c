const { basename, dirname } = require('node:path');
const { default: Sequencer } = require('@jest/test-sequencer');

/**
 * The order of the tests, in which most mutants die early, and by a test of behaviour: the test that killed the mutant the
 * last time; the contract that the broken store
 * keeps; the tests with the name of the broken file; those in a folder of the same name; the simulation; the rest, the quick
 * ones first.
 */
module.exports = class NearestFirst extends Sequencer {
  sort(tests) {
    const mutated = process.env.MUTATED_FILE ?? '';
    const [name, folder] = [basename(mutated, '.ts'), basename(dirname(mutated))];
    const killer = process.env.KILLER || undefined;
    const nearest = [
      (path) => path.endsWith(`/${killer}`),
      (path) => path.endsWith(`/contract/${folder}.test.ts`),
      (path) => basename(path) === `${name}.test.ts`,
      (path) => basename(dirname(path)) === folder,
      (path) => basename(dirname(path)) === 'mutation',
      () => true,
    ];
    const distance = ({ path }) => nearest.findIndex((isNear) => isNear(path));
    // Array.prototype.sort keeps the order of what is as far away.
    return super
      .sort(tests)
      .reverse()
      .sort((a, b) => distance(a) - distance(b));
  }
};
