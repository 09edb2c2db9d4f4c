const { basename, dirname } = require('node:path');
const { default: Sequencer } = require('@jest/test-sequencer');

/**
 * The tests of the file that is broken first, then those of its folder, then the simulation, and of the rest the quick ones:
 * most mutants die early.
 */
module.exports = class NearestFirst extends Sequencer {
  sort(tests) {
    const mutated = process.env.MUTATED_FILE ?? '';
    const [name, folder] = [basename(mutated, '.ts'), basename(dirname(mutated))];
    const distance = ({ path }) => {
      if (basename(path) === `${name}.test.ts`) return 0;
      if (basename(dirname(path)) === folder) return 1;
      return basename(dirname(path)) === 'mutation' ? 2 : 3;
    };
    // Array.prototype.sort keeps the order of what is as far away.
    return super
      .sort(tests)
      .reverse()
      .sort((a, b) => distance(a) - distance(b));
  }
};
