import { setTimeout as sleep } from 'node:timers/promises';
import { LockBusyError, LockClient } from 'leasehold';
import { FileLockStore } from 'leasehold/file';

// A directory that all hosts share, such as a mount of NFS. On one host, any directory will do.
const directory = process.env.LOCKS ?? `${import.meta.dirname}/locks`;
const locks = new LockClient({ store: new FileLockStore({ directory }) });

try {
  await locks.using('import', async ({ signal, fencingToken }) => {
    console.log(`importing, with the fencing token ${fencingToken}`);
    await sleep(3_000, undefined, { signal }); // the work: put yours here, and pass the signal on
    console.log('imported');
  });
} catch (error) {
  if (!(error instanceof LockBusyError)) throw error;
  console.log(`${error.message} The holder is ${error.owner}.`);
  process.exitCode = 75; // try again later
}
