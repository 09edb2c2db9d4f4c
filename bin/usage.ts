/** The help of the operators' command. */
import { KEY_ATTRIBUTE, LOCK_BUCKET_NAME, LOCK_TABLE_NAME, TTL_ATTRIBUTE } from '../lib/names.ts';
import { LOCK_STORE, STORE_FORMS } from './open-store.ts';

export const USAGE = `Usage: leasehold <command> [options]

  leasehold list [PREFIX]         lists every lock whose key starts with PREFIX (reads the whole table)
  leasehold inspect KEY           shows the record of one lock
  leasehold force-release KEY --lock-id ID [--immediately]
                                  ends the grant ID, as inspect shows it; the lock opens at its expiry, when the holder's
                                  belief has surely ended; with --immediately it opens at once, whatever keeps it closed,
                                  and two holders may run at the same time
  leasehold repair KEY [--token N] [--immediately]
                                  opens a lock that nobody holds and that is closed all the same, mends a record that
                                  somebody has damaged and ends its grant, and raises the fencing token to the present time
                                  in milliseconds, or sets it to N; a lock whose record was damaged opens at its expiry, or
                                  with --immediately at once, and two holders may run at the same time
  leasehold reset-once KEY        forgets the finished once token of a lock that nobody holds: the next token is granted, and
                                  work that was done may be done once more
  leasehold prune --older-than DAYS
                                  deletes locks in files (--store file:/PATH) that were free, and not written, for DAYS
  leasehold check                 says what is wrong with the place of the locks, and what to do

The place of the locks:
  --store URL            ${STORE_FORMS.replaceAll(
    ', ',
    `,
${' '.repeat(25)}`,
  )};
                         default: the environment variable ${LOCK_STORE}, or else a DynamoDB table, or else
                         the S3 bucket of the environment variable ${LOCK_BUCKET_NAME}
  --table NAME           the lock table's name or ARN; default: the environment variable ${LOCK_TABLE_NAME}

Options:
  --key-attribute NAME   the table's partition key; default: ${KEY_ATTRIBUTE}
  --sort-key NAME=VALUE  the table's sort key, and the value that all locks have there; default: none
  --ttl-attribute NAME   the attribute that the table's TTL reads; default: ${TTL_ATTRIBUTE}
  --retention-days N     the days that a record stays after its expiry, in a table or on Redis; default: 7
  --json                 prints one JSON object a line
  --help
  --version

The environment variables that attach of a LockTable or a LockBucket sets for a function serve the command, too.
The AWS SDK finds the credentials and the Region as always (AWS_PROFILE, AWS_REGION, ...).
Characters that do not print are shown as escapes, such as \\u001b.
Exit status: 0 done; 1 not found, not done, or an error that check found; 2 used wrongly; 3 the store did not answer.`;
