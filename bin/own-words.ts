/** Tells the library's errors in the words of the command: by its options, and not by those of a program. */

/** The options of the library that a message may name anywhere, and those of the command. */
const OPTIONS: Readonly<Record<string, string>> = {
  tableName: '--table',
  keyAttribute: '--key-attribute',
  'sortKey.name': '--sort-key',
  'sortKey.value': '--sort-key',
  sortKey: '--sort-key',
  ttlAttribute: '--ttl-attribute',
  retentionDays: '--retention-days',
  waitMs: '--wait',
  leaseMs: '--lease',
  holdAtLeastMs: '--at-least',
};

/** An option's name, unless it stands in quotes as somebody's key. */
const OPTION = new RegExp(`(?<![\\w'])(${Object.keys(OPTIONS).join('|')})(?![\\w'])`, 'g');

/** Phrases whose words mean something else elsewhere: the names of attributes of a record, and of the operations of a program. */
export const PHRASES: readonly (readonly [RegExp, string])[] = [
  [/, or allow more time \(requestTimeoutMs, leaseMs, holdAtMostMs\)/, ''],
  [/\(waitMs, withinMs\)/, '(--wait)'],
  [/ leaseMs or holdAtMostMs/, ' --lease'],
  [/^fencingToken must/, '--token must'],
  [/\(name a fencingToken\)/, '(name one by --token)'],
  [/\(immediately opens/, '(--immediately opens'],
  [/^lockId must/, '--lock-id must'],
  [/^once must/, '--once must'],
  [/(leasehold (?:repair|reset-once) KEY), or \w+\(\)/, '$1'],
  [/or give a client that has it/, 'or give --region'],
  [/or give a client that has credentials/, 'or give --profile'],
  [/the profile, or the client\./, 'or the profile (--profile).'],
  [/mend LOCK_BUCKET_NAME or bucket\./, 'mend --store or LOCK_BUCKET_NAME.'],
  [/mend the option 'directory'/, 'mend --store'],
  [/give a shorter 'directory'/, 'give a shorter one by --store'],
  [/^bucket must/, 'The bucket of --store must'],
  [/^(?:keyP|p)refix must/, 'The prefix of --store must'],
  [
    /^(The key of a lock must have at most \d+ bytes, but .*)$/s,
    "$1 A record with a longer key, as ls may list one, is another program's: use the tools of the place.",
  ],
];

/** Puts the command's options in the place of the library's. */
export function inOwnWords(message: string): string {
  const told = PHRASES.reduce((text, [theirs, ours]) => text.replace(theirs, ours), message);
  return told.replace(OPTION, (name) => OPTIONS[name] as string);
}
