import { join } from 'node:path';
import { describe, expect, jest, test } from '@jest/globals';
import { faultsIn, grantsIn } from '../file/fight.ts';
import { runOnMachine, whatIsMissing } from './machine.ts';

jest.setTimeout(300_000);

const repository = join(import.meta.dirname, '../..');
const missing = await whatIsMissing();

/** Runs a job on a machine with an NFS server and two hosts. */
const run = (job: string, variables = '') =>
  runOnMachine(
    `set -e
    cd ${repository}
    ${variables}
    . $T/hosts.sh
    node="${process.execPath} --disable-warning=ExperimentalWarning"
    ${job}`,
    90_000,
  );
/** The moment that a program printed after some words. */
const momentOf = (output: string, words: string) => Number(new RegExp(`${words} at (\\d+)`).exec(output)?.[1]);

if (missing) {
  test.todo(`FileLockStore on NFS: ${missing}`);
} else {
  describe('FileLockStore on NFS 4.1', () => {
    // CI takes the short form.
    const delegations = [['without delegations, as EFS', 0] as const, ['with delegations', 1] as const];
    test.each(process.env.CI ? delegations.slice(0, 1) : delegations)(
      'keeps the contract of every store %s',
      async (_, isOn) => {
        const output = await run(
          `on 1 env -u CI -u TEST_COUNTS NO_COLOR=1 TMPDIR=$D $node --experimental-vm-modules node_modules/jest/bin/jest.js --selectProjects main \\
          --runInBand --ci --haste '{"forceNodeFilesystemAPI":true}' --cacheDirectory $T/mnt/jest --testPathPatterns test/contract/file 2>&1`,
          `DELEGATIONS=${isOn}`,
        );
        expect(output).toMatch(/Tests: +\d\d+ passed, \d+ total/);
      },
    );

    test('lets processes on two hosts fight while the server is restarted: one holder at a time, growing tokens', async () => {
      const output = await run(`
        # The fighters end when their standard input ends, which nobody closes.
        mkfifo $T/mnt/open; exec 9<> $T/mnt/open
        fighters=
        for host in 1 2; do
          for process in 1 2; do
            on $host $node test/file/fighter.ts $D job 75 10000 <&9 > $T/mnt/fighter$host$process &
            fighters="$fighters $!"
          done
        done
        until [ "$(cat $T/mnt/fighter* | wc -l)" -ge 50 ]; do sleep 0.05; done
        stop_server; sleep 1; start_server
        for fighter in $fighters; do wait $fighter; done
        cat $T/mnt/fighter*
        echo "left: $(on 1 ls $D/~new | wc -l) $(on 2 ls $D/job | wc -l)"`);
      const grants = grantsIn([output]);
      expect(grants).toHaveLength(300);
      expect(faultsIn(grants)).toEqual([]);
      expect(output).toMatch(/left: 0 [12]/);
      // The server was gone for a second.
      const pausesMs = grants.slice(1).map(({ from }, index) => from - Number(grants[index]?.to));
      expect(Math.max(...pausesMs)).toBeGreaterThan(700);
    });

    test('shows a reader the first grant of a key at once, though the client has seen that there was no such key', async () => {
      const output = await run(`
        on 2 $node test/nfs/absent.ts $D job $T/mnt/written > $T/mnt/reader &
        reader=$!
        until grep -q looked $T/mnt/reader; do sleep 0.1; done
        on 1 $node test/nfs/holder.ts $D job
        touch $T/mnt/written
        wait $reader
        cat $T/mnt/reader`);
      expect(output).toMatch(/job is held at .+before: undefined.+after: true/s);
    });

    test('tells a host whose network is cut in time, where flock has two holders', async () => {
      const output = await run(`
        on 1 $node test/nfs/holder.ts $D lease until-lost > $T/mnt/first &
        on 1 flock $D/flock bash -c 'while true; do echo "first believes in flock at $(date +%s%3N)"; sleep 0.5; done' > $T/mnt/believes &
        until grep -q held $T/mnt/first && [ -s $T/mnt/believes ]; do sleep 0.1; done
        on 2 flock $D/flock date +'second got flock at %s%3N' > $T/mnt/second &
        flock=$!
        on 2 $node test/nfs/holder.ts $D lease > $T/mnt/third &
        lease=$!
        sleep 1
        cut 1
        wait $lease
        wait $flock
        sleep 2
        mend 1
        on 1 $node test/nfs/holder.ts $D lease > $T/mnt/fourth
        head -v $T/mnt/first $T/mnt/third $T/mnt/fourth $T/mnt/second
        tail -n 1 $T/mnt/believes
      `);
      const [first, third, fourth] = [...output.matchAll(/lease is held at (\d+)/g)].map(([, moment]) =>
        Number(moment),
      );
      expect(momentOf(output, 'lease is lost')).toBeGreaterThan(Number(first));
      expect(momentOf(output, 'lease is lost')).toBeLessThan(Number(third));
      expect(fourth).toBeGreaterThan(Number(third));
      expect(momentOf(output, 'first believes in flock')).toBeGreaterThan(momentOf(output, 'second got flock'));
    });
  });
}
