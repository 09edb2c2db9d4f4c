// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the code that is broken has templates.

/** One line broken that keeps an invariant: `code`, found once in `file`, becomes `becomes`. */
export interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly code: string;
  readonly becomes: string;
}

const of = (file: string, mutants: readonly (readonly [name: string, code: string, becomes: string])[]): Mutant[] =>
  mutants.map(([name, code, becomes]) => ({ name, file, code, becomes }));

// A server refuses a request with a value that no expression uses: a clause whose value nothing else uses is not left
// out but made true of every record.
const dynamodb = [
  ...of('lib/dynamodb/writes.ts', [
    ['acquire without the condition "no record"', '`attribute_not_exists(#key) OR (', '`('],
    ['acquire without the condition "expired"', 'AND expiresAt BETWEEN :zero AND :now AND ', 'AND '],
    ['acquire refused at the very moment of the expiry', 'expiresAt BETWEEN :zero AND :now', 'expiresAt < :now'],
    [
      'acquire of an item that has no fencing token',
      "'fencingToken BETWEEN :zero AND :most'",
      "'(fencingToken BETWEEN :zero AND :most OR attribute_not_exists(fencingToken))'",
    ],
    ['acquire without the condition "the grant is not of this request"', ' AND lockId <> :me AND', ' AND'],
    ['acquire without the condition "the release is not of this request"', ' AND releasedBy <> :me)', ')'],
    [
      'acquire with "once", refused because no token is done yet',
      "'(attribute_not_exists(doneToken) OR doneToken < :once)'",
      "'doneToken < :once'",
    ],
    [
      'acquire with "once", granted though a later token is done',
      'OR doneToken < :once)',
      'OR doneToken < :once OR doneToken >= :once)',
    ],
    ['acquire with "once", granted though the same token is done', 'doneToken < :once', 'doneToken <= :once'],
    [
      'a grant leaves the fencing token as it was',
      'if_not_exists(fencingToken, :now) + :one',
      'if_not_exists(fencingToken, :now)',
    ],
    ['each grant starts the fencing token from the clock', 'if_not_exists(fencingToken, :now) + :one', ':now + :one'],
    [
      'the first fencing token starts from zero',
      'if_not_exists(fencingToken, :now)',
      'if_not_exists(fencingToken, :zero)',
    ],
    ['a grant forgets the expiry of the lease that it takes over', 'if_not_exists(expiresAt, :zero)', ':zero'],
    [
      'renew of a grant of another holder',
      '`${MINE} AND expiresAt <= :until`',
      '`(${MINE} OR lockId <> :me) AND expiresAt <= :until`',
    ],
    ['renew shortens a lease', '`${MINE} AND expiresAt <= :until`', 'MINE'],
    [
      'release of a grant of another holder',
      'served === undefined ? MINE :',
      'served === undefined ? `${MINE} OR lockId <> :me` :',
    ],
    [
      'release writes an expiry that does not start from the acquisition',
      'expiresAt = acquiredAt + :hold',
      'expiresAt = :hold',
    ],
    ['release does not keep the lock closed for holdAtLeastMs', 'N(Math.max(1, holdAtLeastMs))', 'N(1)'],
    ['release does not write releasedBy', 'SET releasedBy = :me, expiresAt = acquiredAt', 'SET expiresAt = acquiredAt'],
    [
      'give back of a grant of another holder',
      '`${MINE} AND fencingToken = :token`',
      '`(${MINE} OR lockId <> :me) AND fencingToken = :token`',
    ],
    [
      'give back of a later grant of the same acquire',
      '${MINE} AND fencingToken = :token',
      '${MINE} AND (fencingToken = :token OR fencingToken <> :token)',
    ],
    [
      'give back restores the expiry and not the lockId',
      '(restored ? `, lockId = :restored${FORGET_TOOK_OVER}` :',
      "(restored === '' ? '' :",
    ],
  ]),
  ...of('lib/dynamodb/operator-writes.ts', [
    [
      'resume of a grant other than that of the handle',
      '`lockId = :handed AND',
      '`(lockId = :handed OR lockId <> :handed) AND',
    ],
    [
      "resume of an item of the user's own",
      'lockId = :handed AND ${COUNTABLE} AND expiresAt BETWEEN :zero AND :most AND',
      '(${COUNTABLE} OR lockId = :handed) AND (expiresAt BETWEEN :zero AND :most OR lockId = :handed) AND lockId = :handed AND',
    ],
    [
      "force release of an item of the user's own",
      "releasedBy = :seen)' : ''}) AND ${HAS_TIMES}$",
      "releasedBy = :seen)' : ''}) AND (${HAS_TIMES} OR lockId = :seen)$",
    ],
    ['resume writes an expiry before the acquisition', ' AND acquiredAt < :until', ''],
    [
      'resume leaves the fencing token as it was',
      'fencingToken = fencingToken + :one',
      'fencingToken = fencingToken, leaseCount = :one',
    ],
    [
      'force release of a grant other than the one that the operator saw',
      '`(lockId = :seen$',
      '`(lockId = :seen OR lockId <> :seen$',
    ],
    [
      'force release opens a lock that another grant left closed',
      ' AND releasedBy = :seen)',
      ' AND attribute_exists(releasedBy))',
    ],
    [
      'repair under a holder',
      "'attribute_not_exists(lockId) AND fencingToken = :seenToken",
      "'fencingToken = :seenToken",
    ],
    [
      'repair of a broken record opens the lock before its expiry',
      '(immediately ? [] : [OPENS_IN_TIME])',
      '(immediately ? [OPENS_IN_TIME] : [])',
    ],
    ['repair of a broken record lowers its token', '(!lowersToken ? [RAISES_TOKEN] :', '(!lowersToken ? [] :'],
    [
      'repair of a broken record lowers a token that the operator did not see',
      'seen ? [`(${RAISES_TOKEN} OR ${AROUND_SEEN})`] : []',
      '[]',
    ],
    [
      "repair of an item of the user's own with a token",
      "'(attribute_exists(acquiredAt) OR attribute_exists(leaseMs)))'",
      "'(:zero = :zero))'",
    ],
    [
      'no repair of a fraction',
      '`(${BROKEN} OR (${AROUND_SEEN}))`',
      '`(${BROKEN} OR (:expiry1 < :expiry0 AND ${AROUND_SEEN}))`',
    ],
    [
      'repair of a later record than the operator saw',
      ' AND expiresAt = :seenExpiry',
      ' AND (expiresAt = :seenExpiry OR attribute_exists(expiresAt))',
    ],
  ]),
  ...of('lib/record/fields.ts', [
    [
      'a grant where there was no record, read as a takeover',
      "  if (expiresAt === 0) return { type: 'nothing' };\n",
      '',
    ],
  ]),
  ...of('lib/dynamodb/table.ts', [
    ["the reason of a request that hangs in the SDK's own retries, lost", '      noteFault(signal, fault);\n', ''],
    ['an error that the SDK wrapped, judged by its wrapper', 'faults.at(-1) ?? error', 'error'],
    [
      'a misspelled option of a DynamoDBLockStore, ignored',
      "    checkNames('DynamoDBLockStore', options, STORE_OPTIONS);\n",
      '',
    ],
    ['a client without send(), accepted', "client === undefined || typeof client?.send === 'function'", 'true'],
  ]),
  ...of('lib/dynamodb/lease-store.ts', [
    [
      "one item of the user's own hides all locks beside it",
      '    } catch {\n      return [];',
      '    } catch (error) {\n      throw error;',
    ],
  ]),
  ...of('lib/dynamodb/guarded-write.ts', [
    ['the guard of a write is true for every grant', "'lockId = :lockId'", "'lockId = :lockId OR lockId <> :lockId'"],
  ]),
  ...of('lib/dynamodb/lease-store.ts', [
    [
      'refused writes bring no record back',
      "ReturnValuesOnConditionCheckFailure: 'ALL_OLD'",
      "ReturnValuesOnConditionCheckFailure: 'NONE'",
    ],
    ['an empty answer proves that a write was applied', '.some((name) => Attributes?.[name])', ''],
  ]),
];

const record = [
  ...of('lib/record/record.ts', [
    ['every grant counts as the one that is asked for', 'record?.lockId === lockId;', 'record !== undefined;'],
  ]),
  ...of('lib/record/transitions.ts', [
    ['acquire in memory without the condition "expired"', 'record.expiresAt <= now && ', ''],
    ['acquire in memory without the condition "the grant is not of this request"', ' && record.lockId !== lockId', ''],
    [
      'acquire in memory without the condition "the release is not of this request"',
      ' && record.releasedBy !== lockId',
      '',
    ],
    [
      'acquire in memory with "once", granted though the token is done',
      'if (!isFree || isDone(once, record?.doneToken))',
      'if (!isFree)',
    ],
    [
      'a release that resets the token in memory leaves the token',
      '(doneToken ?? record.doneToken)',
      '(doneToken || record.doneToken)',
    ],
    [
      'a grant in memory leaves the fencing token as it was',
      '(record?.fencingToken ?? now) + 1',
      'record?.fencingToken ?? now + 1',
    ],
    [
      'renew in memory of a grant of another holder',
      '!isGrantOf(lockId, record) || record.expiresAt > until',
      'record === undefined || record.expiresAt > until',
    ],
    ['renew in memory shortens a lease', ' || record.expiresAt > until', ''],
    [
      'release in memory of a grant of another holder',
      'if (!isGrantOf(lockId, record)) return undefined;\n  if (served',
      'if (record === undefined) return undefined;\n  if (served',
    ],
    ['release in memory opens the lock at the acquisition', 'Math.max(1, holdAtLeastMs)', 'holdAtLeastMs'],
    ['release in memory does not write releasedBy', '  releasedBy: record.lockId,\n', ''],
    [
      'give back in memory of a grant of another holder',
      '!isGrantOf(lockId, record) || record.fencingToken !== fencingToken',
      'record?.fencingToken !== fencingToken',
    ],
    ['give back in memory of a later grant of the same acquire', ' || record.fencingToken !== fencingToken', ''],
    [
      'resume in memory of a grant other than that of the handle',
      '!isGrantOf(handed, record) || !areCountable(record)',
      'record === undefined || !areCountable(record)',
    ],
    ['resume in memory writes an expiry before the acquisition', ' || record.acquiredAt >= until', ''],
    [
      'force release in memory of a grant other than the one that the operator saw',
      'if (!isGrantOf(lockId, record) && !(immediately && hasEnded)) return undefined;',
      'if (record === undefined) return undefined;',
    ],
    [
      "force release in memory writes the expiry of a holder's own release",
      'immediately ? record.acquiredAt + 2',
      'immediately ? record.acquiredAt + 1',
    ],
  ]),
  ...of('lib/record/check.ts', [
    ['an option with an unknown name, ignored', '  if (unknown === undefined) return;\n', '  return;\n'],
  ]),
];

const clocks = [
  ...of('lib/lease/clock.ts', [
    [
      'elapsed time by the wall clock alone',
      'Math.max(to.wall - from.wall, to.monotonic - from.monotonic)',
      'to.wall - from.wall',
    ],
    [
      'elapsed time by the monotonic clock alone',
      'Math.max(to.wall - from.wall, to.monotonic - from.monotonic)',
      'to.monotonic - from.monotonic',
    ],
    ["a lease's timer keeps the process alive", '?.unref?.()', ''],
    ['a long time ends with its first timer', 'if (ms <= partMs) callback();', 'if (partMs >= 0) callback();'],
  ]),
  ...of('lib/lease/server-clock.ts', [
    ['a monotonic clock that goes back, unnoticed', ' ||\n  from.monotonic - to.monotonic > DRIFT_MS', ''],
    ["the server's Date, ignored", 'if (date === undefined || !Number.isFinite(date)) return;', 'return;'],
    [
      'an expiry written by a wrong clock, never disproved',
      'return tooSoonMs > safetyMs || -tooSoonMs > Math.max(safetyMs, this.#stepMs);',
      'return tooSoonMs > Number.MAX_VALUE;',
    ],
    ['an expiry that is too soon, not disproved', 'return tooSoonMs > safetyMs || ', 'return '],
    ['an expiry that is too late, not disproved', ' || -tooSoonMs > Math.max(safetyMs, this.#stepMs)', ''],
    ['a lease taken over before its expiry, not noticed', 'return date + this.#stepMs <= expiresAt;', 'return false;'],
    [
      'a lease taken over before its expiry by a clock known to be wrong, not noticed',
      'return Math.max(date, this.#clock.now() + this.#lowest) < expiresAt;',
      'return false;',
    ],
    ['an answer judges a clock that was set while the request was out', 'if (hasStepped(sent, received)) return;', ''],
    ['a slow answer vouches for a clock that may be behind', ': Math.max(0, this.#lastTold);', ': 0;'],
    [
      'earlier fast answers vouch for a clock that has stood still since',
      'this.#lastTold = date - sent.wall;',
      'this.#lastTold = Math.min(this.#lastTold, date - sent.wall);',
    ],
    ['a clock counts as judged though it was set since', ' && !hasStepped(this.#judgedAt, moment));', ');'],
    [
      'the doubt at the sending is forgotten when the clock is set',
      'isKnown ? this.behindMs : behindMs',
      'this.behindMs',
    ],
    [
      'an answer without a Date vouches for the clock, though other answers had one',
      'this.#isDateless = !this.#wasDated;',
      'this.#isDateless = true;',
    ],
    ["a relay's Date alone decides when a lease has expired", 'Math.min(0, this.#lowest)', 'this.#lowest'],
    ["a relay's Date alone decides the expiry to write", 'Math.max(0, this.#highest) : this', 'this.#highest : this'],
    ["a relay's Date counts as a doubt though it is hours off", '<= RELAY_MOST_MS', '<= Number.MAX_VALUE'],
  ]),
  ...of('lib/lease/judge.ts', [
    [
      'a moment by a clock that no answer has judged',
      'if (clock.isDisciplined || serverClock.isJudged(now)) return now;',
      'return now;',
    ],
    ['each call sends a read of its own to judge the clock', '  serverClock.judging = judging;\n', ''],
    ["a call waits for the others' reads, one after the other", '        mayJoin = false;\n', ''],
    ['close() waits for the read that judges the clock', 'either(closing, options.signal)', 'either(options.signal)'],
  ]),
  ...of('lib/lease/send.ts', [
    [
      "a refusal's Date, ignored",
      '    if (error instanceof LockStoreError && error.serverDate !== undefined) serverClock.observe(sent, error);\n',
      '',
    ],
    [
      'a release refused for the time in its signature, not sent again',
      'return resends ? 0 : undefined;',
      'return undefined;',
    ],
    [
      'a caller who waits longer than its time',
      'const leftMs = Math.min(requestMs, callerMs);',
      'const leftMs = requestMs;',
    ],
    [
      'the last fault, forgotten when the time is over',
      '    if (fault && leftMs <= leastMs(caller)) throw fault;\n',
      '',
    ],
    ['the reason of a fault, hidden by the time-out that follows', 'fault = before', 'fault'],
    [
      'a request given up whose answer has arrived while the event loop was blocked',
      'clock.setImmediate ? clock.setImmediate(hung) : hung()',
      'hung()',
    ],
    [
      'an error of the store, thrown without the facts',
      'return new LockStoreError(`${what}: ${error.message}`, error);',
      'return new LockStoreError(`${what}: ${error.message}`);',
    ],
  ]),
  ...of('lib/lease/gate.ts', [
    [
      'any number of requests at a time',
      'if (this.#hasTurn(turn.order)) this.#running++;',
      'if (turn) this.#running++;',
    ],
    ['an operation that ends keeps its turn', '      this.#running--;\n', ''],
    ['the latest deadline is renewed first', 'a.order < b.order ||', 'a.order > b.order ||'],
    ['an operation that nobody wants any more, sent in its turn', '        queued.start = undefined;\n', ''],
  ]),
  ...of('lib/dynamodb/sdk-transport.ts', [
    ["the store's own client sends again beside leasehold", '{ maxAttempts: 1 }', '{}'],
  ]),
  ...of('lib/dynamodb/direct-transport.ts', [
    [
      'a refused signature, after which the next one has the wrong time again',
      'this.#aheadMs = refusal.serverDate - Date.now();',
      ';',
    ],
  ]),
  ...of('lib/dynamodb/http.ts', [
    ['a request that nobody waits for keeps its socket', '        sent.destroy();\n', ''],
  ]),
  ...of('lib/dynamodb/sigv4.ts', [["yesterday's key signs", 'day !== this.#day || ', '']]),
  ...of('lib/dynamodb/environment.ts', [
    ['a file of profiles, not read', '  return file && `there', '  return file && undefined && `there'],
    ['a request that waits for new credentials while the old ones are good', '!this.#held || leftMs <= 0', 'true'],
  ]),
  ...of('lib/aws/sdk-client.ts', [
    [
      'a request refused for the time in its signature, sent again with the same moments',
      '?.$metadata?.misdated)) throw error;',
      '?.$metadata?.misdated && false)) throw error;',
    ],
    ["a request of the user's own, not corrected by the SDK", 'if (!(heard && ', 'if (!('],
  ]),
  ...of('lib/aws/server-date.ts', [
    ["a relay's Date, taken for DynamoDB's", ' || !AWS_HOST.test(hostname)', ''],
    ["the Date of an answer without TLS, taken for DynamoDB's", "protocol !== 'https:' || ", ''],
    ["the Date of a cache's answer, taken for the present", ' || age !== undefined', ''],
    ['every refusal of a signature, taken for one of its time', '> MISDATED_MS', '>= 0'],
  ]),
];

const attempts = [
  ...of('lib/aws/faults.ts', [
    ['an answer that nobody can read, taken for a fault that lasts', '($response !== undefined ||', '('],
    ["a proxy's page with the status 404 is a fault that lasts", "  'NotFound',\n", ''],
    ['a conflict with another Region, taken for a fault that lasts', "  'ReplicatedWriteConflictException',\n", ''],
  ]),
  ...of('lib/lease/term.ts', [
    [
      'the belief lasts until the expiry, without the safety',
      'Math.min(this.believeMs, untilMs - this.#safetyMs)',
      'Math.min(this.believeMs, untilMs)',
    ],
    [
      'the belief lasts beyond the cap',
      'this.believeMs = Math.min(leaseMs - safetyMs, capMs);',
      'this.believeMs = leaseMs - safetyMs;',
    ],
    ['a lock that opens before its holdAtLeastMs when its holder dies', '+ safetyMs, closedUntil)', '+ safetyMs, 0)'],
  ]),
  ...of('lib/lease/attempt.ts', [
    [
      'one lockId for all attempts of a call',
      'const lockId = freshId();',
      'const lockId = ((plan as { id?: string }).id ??= freshId());',
    ],
    [
      'a grant beyond the end of the invocation',
      'Math.min(holdAtMostMs, remainingMs - elapsedMs(since, sent))',
      'holdAtMostMs',
    ],
    [
      'a resumed grant beyond the end of the invocation',
      'Math.min(holdAtMostMs, remainingMs - elapsedMs(since, sent))',
      "what === 'Resuming' ? holdAtMostMs : Math.min(holdAtMostMs, remainingMs - elapsedMs(since, sent))",
    ],
    ['a request sent past its deadline', '  if (leftMs > 0) return;\n', '  return;\n'],
    [
      'an acquire refused for the time in its signature, not asked again',
      'if (isAnswer && isMisdated(error)) return',
      "if (isAnswer && isMisdated(error) && what !== 'Acquiring') return",
    ],
    [
      "the reason of a caller's signal, taken for the store's answer",
      'error instanceof LockStoreError && !signal?.aborted;',
      'error instanceof LockStoreError;',
    ],
    [
      'a resume refused for the time in its signature, not asked again',
      'if (isAnswer && isMisdated(error)) return',
      "if (isAnswer && isMisdated(error) && what !== 'Resuming') return",
    ],
    [
      'a lease that may have been granted, not released',
      '      discard(context, { key, lockId, until: term.until }, plan, asking.discardHoldMs);\n    }\n',
      '    }\n',
    ],
    [
      'a resumed lease that may have been granted, not released',
      '      discard(context, { key, lockId, until: term.until }, plan, asking.discardHoldMs);\n    }\n',
      "      if (what !== 'Resuming') discard(context, { key, lockId, until: term.until }, plan);\n    }\n",
    ],
    [
      'a grant written by a clock that its answer disproves, kept',
      'if (term.isDisproved || isTooEarly)',
      'if (isTooEarly)',
    ],
    [
      'a resumed grant written by a clock that its answer disproves, kept',
      'if (term.isDisproved || isTooEarly)',
      "if ((term.isDisproved && what !== 'Resuming') || isTooEarly)",
    ],
    [
      'a grant that came before the expiry of another, kept',
      'if (term.isDisproved || isTooEarly)',
      'if (term.isDisproved)',
    ],
    ['a grant whose answer came past its deadline, kept', 'if (!term.isOver && ', 'if ('],
    [
      'a resumed grant whose answer came past its deadline, kept',
      'if (!term.isOver && ',
      "if ((!term.isOver || what === 'Resuming') && ",
    ],
    ['a grant answered after its client was closed, kept', ' && !closing.aborted && ', ' && '],
    [
      'a resumed grant answered after its client was closed, kept',
      ' && !closing.aborted && ',
      " && (!closing.aborted || what === 'Resuming') && ",
    ],
    ['a grant answered after its signal aborted, kept', ' && !signal?.aborted) return;', ') return;'],
    [
      'a grant kept though its clock was set while the request was out',
      "term.wasInterrupted ? 'misjudged' : 'granted'",
      "'granted'",
    ],
    [
      'a resumed grant kept though its clock was set while the request was out',
      'term.wasInterrupted ?',
      "term.wasInterrupted && what !== 'Resuming' ?",
    ],
  ]),
  ...of('lib/lease/give-back.ts', [
    [
      'a lock given back though nobody knows what the grant took over',
      'const { tookOver } = record;',
      "const tookOver = record.tookOver ?? ({ type: 'nothing' } as const);",
    ],
    [
      'a lock given back a second time though nobody knows what the grant took over',
      'else if (standing.fencingToken === record.fencingToken + 1) await',
      'else await',
    ],
    ['a lock given back opens by a wrong clock', 'Math.min(serverClock.now(key), serverDate)', 'serverClock.now(key)'],
  ]),
  ...of('lib/lease/attempts.ts', [
    [
      'a late grant of an earlier attempt, not released',
      '    discard(this.#context, { key, lockId, until: expiresAt }, this.#plan);\n    throw',
      '    throw',
    ],
    [
      'a lock reported as busy that an earlier attempt of the same call holds',
      '      this.#discardOurs(second.record);\n',
      '',
    ],
  ]),
  ...of('lib/lease/acquisition.ts', [
    ['a waiter writes instead of reading', 'seen = await this.#look(seen);', 'return undefined;'],
  ]),
  ...of('lib/lease/resume.ts', [
    [
      'a resume refused because the lease is gone, told as a fault of the clock',
      '    if (isGrantOf(handed, record)) return;\n',
      '    return;\n',
    ],
    [
      'the second request of a resume asks by the handle, though the first one was granted',
      '    if (misjudged) handed = misjudged.lockId;\n',
      '',
    ],
    ["a resume's second grant kept though it is over", '      discardUnwanted(context, asking, second.grant);\n', ''],
    [
      "a resume's first grant left when its second request fails",
      '      discard(context, { key, lockId, until: term.until }, plan, plan.holdAtLeastMs);\n',
      '',
    ],
    ['a resume that forgets holdAtLeastMs', 'closedUntil: () => closedUntil', 'closedUntil: () => 0'],
  ]),
];

const client = [
  ...of('lib/lease/lease-client.ts', [
    [
      'a lease granted while its client is closing, not released',
      '    if (this.#context.closing.aborted) discardUnwanted(this.#context, { what, lock, plan, discardHoldMs }, grant);\n',
      '',
    ],
    [
      'a default owner named once, and shared by every process of a snapshot',
      '    plan.owner ??= defaultOwner();\n',
      "    plan.owner ??= 'a name that was there before';\n",
    ],
    [
      'a lock closed for less than holdAtLeastMs by a wrong clock',
      'plan.holdAtLeastMs && term.closedUntil - record.acquiredAt',
      'plan.holdAtLeastMs',
    ],
    [
      "the acquired event's expiry counted from the deadline of a wrong clock",
      'const times = { expiresAt: term.until, deadline, waitedMs };',
      'const times = { expiresAt: deadline + plan.safetyMs, deadline, waitedMs };',
    ],
  ]),
  ...of('lib/lease/client.ts', [
    [
      "the resumed event's expiry counted from the deadline of a wrong clock",
      'expiresAt: grant.term.until,',
      'expiresAt: deadline + plan.safetyMs,',
    ],
    ['a misspelled option of a LockClient, ignored', "    checkNames('LockClient', options, CLIENT_OPTIONS);\n", ''],
    ['a misspelled option of acquire, ignored', "    checkNames('acquire', options, ACQUIRE_OPTIONS);\n", ''],
    ['a misspelled option of resume, ignored', "    checkNames('resume', options, RESUME_OPTIONS);\n", ''],
  ]),
  ...of('lib/lease/operate.ts', [
    ['a repair puts a token down', 'if (isWhole && token <= now)', 'if (token < 0)'],
    [
      'a misspelled option of forceRelease, ignored',
      "  checkNames('forceRelease', options, { lockId: 0, immediately: 0 });\n",
      '',
    ],
    [
      'a lock that a wrong clock closed stays closed after an immediate force release',
      'if (!immediately) return true;',
      'return true;',
    ],
    [
      'a repair of a damaged record opens the lock of a live holder',
      'whole || immediately || !isCountable(expiresAt) ? soonest',
      'isCountable(soonest) ? soonest',
    ],
    ['a repair writes a moment of a clock that no answer has judged', '  await judgedInstant(context, key, {});\n', ''],
  ]),
  ...of('lib/lease/inspect.ts', [
    ['a misspelled option of inspectMany, ignored', "  checkNames('inspectMany', options, { signal: 0 });\n", ''],
    ['a misspelled option of list, ignored', "  checkNames('list', options, LIST_OPTIONS);\n", ''],
    ['a list that close() does not end', 'either(context.closing, options.signal)', 'either(options.signal)'],
  ]),
  ...of('lib/record/fresh-id.ts', [
    [
      'a lockId drawn from a cache that processes of one snapshot share',
      'randomUUID({ disableEntropyCache: true })',
      'randomUUID()',
    ],
  ]),
];

const lease = [
  ...of('lib/lease/heartbeat.ts', [
    [
      "a grant's belief counted from the answer",
      'this.#since = grant.term.sent;',
      'this.#since = instant(context.clock);',
    ],
    [
      "a renewal's belief counted from the answer",
      'this.#since = term.sent;',
      'this.#since = instant(this.#context.clock);',
    ],
    [
      'no timer for the deadline',
      '    this.#watchDeadline();\n    this.#waitForRenewal(this.#term);',
      '    this.#waitForRenewal(this.#term);',
    ],
    [
      'isHeld() asks no clock',
      "if (this.#state.type !== 'ended' && this.leftMs <= 0) this.lose('expired');\n    return",
      'return',
    ],
    ['a release does not stop a renewal that is out', "    if (state.type === 'renewing') state.cancel.abort();\n", ''],
    ['a release does not stop the heartbeat', "    if (this.#state.type === 'waiting') this.#state.stop();\n", ''],
    [
      'an answer that comes after the end of a lease revives its heartbeat',
      '    if (renewing.signal.aborted || !this.isAlive()) return;\n    // 3.',
      '    // 3.',
    ],
    [
      'a renewal that fails after the end of a lease revives its heartbeat',
      '      if (!renewing.signal.aborted) {',
      '      {',
    ],
    [
      'a listener of renewFailed that releases the lease revives its heartbeat',
      '    // If the deadline has passed meanwhile, the lease is lost now.\n',
      '    this.#waitMs(this.#backOff.nextMs());\n',
    ],
    [
      'a renewal sent though it may arrive past the deadline',
      'withinMs: this.leftMs * TRIED_SHARE, since: sent',
      'withinMs: Number.POSITIVE_INFINITY, since: sent',
    ],
    [
      'a slow answer shortens the belief',
      'if (forMs - elapsedMs(term.sent, instant(this.#context.clock)) > this.leftMs) {',
      'if (true) {',
    ],
    [
      'a renewal that failed, not tried again',
      '    this.#waitMs(Math.min(this.#backOff.nextMs(), Math.max(RETRY_MS.first, leftMs / 3)));\n',
      '',
    ],
    [
      'a lease is lost before the failure of its last renewal is told',
      'const TRIED_SHARE = 0.9;',
      'const TRIED_SHARE = 1;',
    ],
    [
      'a renewal refused for another grant, believed',
      'if (!applied && !isGrantOf(this.#grant.lockId, record)) return this.lose(lossOf(record));',
      '',
    ],
    [
      'a renewal refused for the time in its signature, not written once more',
      '        if (isMisdated(error) && !isSecond && this.isAlive()) return this.#renew(renewing, true);\n',
      '',
    ],
    [
      'a renewal written by a clock that its answer disproves, not written once more',
      '    if (term.isDisproved && !isSecond) return this.#renew(renewing, true);\n',
      '',
    ],
    [
      'a renewal that gained nothing because the clock was set back, sent again at once',
      '    if (!applied && hasStepped(this.#since, term.sent)) return this.#waitMs(this.leftMs / 4);\n',
      '',
    ],
    [
      'a hand-off shortened by the cap of the holder',
      'handOffMs === undefined ? granted.capLeftMs(sent) : Infinity',
      'granted.capLeftMs(sent)',
    ],
    [
      'the handedOff event has the expiry of before the hand-off',
      '    this.#until = Math.max(term.until, applied ? 0 : (record as LockRecord).expiresAt);\n',
      '',
    ],
    [
      'a capped lease sends renewals',
      "      this.#enter({ type: 'capped' });\n      return;\n",
      "      this.#state = 'capped';\n",
    ],
    [
      'a lease that reaches its cap with its first term sends renewals',
      'if (term.capMs <= leaseMs - safetyMs) {',
      'if (term.capMs < leaseMs - safetyMs) {',
    ],
  ]),
  ...of('lib/lease/release.ts', [
    [
      "a clock that was set back has the record's TTL come too soon",
      'Math.max(serverClock.now(key), until - holdAtLeastMs)',
      'serverClock.now(key)',
    ],
    [
      'a release gets no time at all when the invocation is about to end',
      'leavingOf(remainingMs, RESPONSE_MS) ||',
      '(remainingMs === undefined ? 0 : Number(remainingMs()) - RESPONSE_MS) ||',
    ],
    ['a release that fails rejects', "return { type: 'unknown', error: error as LockStoreError };", 'throw error;'],
    [
      'a release that was delivered twice, told as a loss',
      ' || isDue || opened === acquiredAt + Math.max(1, holdAtLeastMs)',
      '',
    ],
    [
      "an operator's force release, taken for the holder's own",
      'opened === acquiredAt + Math.max(1, holdAtLeastMs)',
      'true',
    ],
    [
      'a release with a done token, delivered twice around a release of another holder, told as a loss',
      'return (maybeAppliedBefore || isDue) && isBelieved',
      'return maybeAppliedBefore && isBelieved',
    ],
    [
      'a release that was delivered twice around a takeover, told as a loss',
      '? record.expiresAt : replacedAt;',
      '? record.expiresAt : undefined;',
    ],
    [
      "an operator's force release, taken for the holder's own with a done token",
      '  if (isDue && !isDone(doneToken, record?.doneToken)) return false;\n',
      '',
    ],
  ]),
  ...of('lib/record/token.ts', [
    [
      'once tokens compared as JavaScript compares them',
      'Buffer.compare(Buffer.from(one), Buffer.from(other))',
      'one < other ? -1 : one > other ? 1 : 0',
    ],
    [
      'the offset of an instant, added and not taken off',
      '`${local}${sign}${hours}:${minutes}`',
      "`${local}${sign === '-' ? '+' : '-'}${hours}:${minutes}`",
    ],
  ]),
  ...of('lib/record/record.ts', [
    ['fencing tokens that JavaScript cannot tell apart, granted', 'Number.MAX_SAFE_INTEGER - 1;', '2 ** 60;'],
  ]),
  ...of('lib/lease/attempts.ts', [
    ['a token of another form, taken for done', 'if (haveOneForm(once, doneToken)) return', 'return'],
    [
      'a doneToken of another type, told as a busy lock',
      'if (record.flaw !== undefined && !isJudged)',
      'if (record.flaw !== undefined && !isJudged && !areCountable(record))',
    ],
  ]),
  ...of('lib/lease/lease-client.ts', [
    [
      'a token that is given and undefined, taken for none',
      "value !== undefined || name === 'once'",
      'value !== undefined',
    ],
  ]),
  ...of('lib/tasks/marks.ts', [
    [
      'a task that is done for a token of another form, stepped over',
      'isDone(token, doneToken) && haveOneForm(token, doneToken)',
      'isDone(token, doneToken)',
    ],
    [
      'a mark of a later token, believed after its tasks were reset',
      '    if (canonicalToken(mark.doneToken) !== this.#plan.token) return false;\n',
      '',
    ],
  ]),
  ...of('middleware/batch-records.ts', [
    [
      'a record whose token has another form, taken for done with the record before',
      '        assertOneForm(key, entry.token as string, last.token);\n',
      '',
    ],
  ]),
  ...of('lib/lease/lease.ts', [
    [
      'close() does not wait for a release that is under way',
      "if (state !== 'released') this.#leave();",
      'this.#leave();',
    ],
    [
      'a lease that is lost does not abort its signal',
      "    this.#report({ type: 'lost', reason, error });\n    this.#stop.abort(error);",
      "    this.#report({ type: 'lost', reason, error });",
    ],
    [
      'a lease believed until its release is answered',
      "      this.#end('released');\n      return this.#releaseEnded(options);",
      '      return this.#releaseEnded(options);',
    ],
    [
      'a lease that was lost, released as done',
      'await this.#send({}, options)',
      'await this.#send({ doneToken: this.#plan.once }, options)',
    ],
    [
      'a lease whose client is closed does not abort its signal',
      '    if (this.isHeld()) this.#stop.abort(reason);\n',
      '',
    ],
    ['close() releases a lease whose work goes on', "this.abandon('closed');", 'void this.release();'],
    ['a listener of lost that releases the lease meets no reason', '    this.#loss = error;\n', ''],
    ['a misspelled option of a release, ignored', "    checkNames('release', options, RELEASE_OPTIONS);\n", ''],
    [
      "a done that is a token of another form than the lease's own, taken",
      ' && !(isDone(token, once) && haveOneForm(token, once))',
      ' && !isDone(token, once)',
    ],
    [
      'a release outlasts the invocation',
      'const limits = { requestTimeoutMs, withinMs, insistMs };',
      'const limits = { requestTimeoutMs, withinMs: Number.POSITIVE_INFINITY, insistMs };',
    ],
    [
      'a release that finishes a token, given up after three sendings',
      'achieved.doneToken !== undefined && withinMs === Infinity ? this.#heartbeat.leftMs : 0',
      '0',
    ],
    ['a release that finishes a token insists while a response waits', ' && withinMs === Infinity', ''],
    [
      "a release that names the lease's own token, not counted as done",
      ' || (done !== undefined && done === this.#plan.once)',
      '',
    ],
    [
      'a token taken for done though the work released its lease as not done',
      'if (once !== undefined && !this.#releasedAsDone) {',
      'if (false) {',
    ],
  ]),
];

const callbacks = [
  ...of('lib/lease/callback.ts', [
    ['a callback that rejects ends the process', '  Promise.resolve(value).then(undefined, failed);\n', ''],
    [
      'a thenable that is no promise, not listened to',
      'Promise.resolve(value).then',
      'if (value instanceof Promise) value.then',
    ],
  ]),
  ...of('lib/lease/options.ts', [
    [
      'remainingMs that gives a promise which rejects ends the process at an acquire',
      '  heed(ms);\n  throw',
      '  throw',
    ],
    ['remainingMs that gives a promise which rejects ends the process at a release', '    heed(ms);\n', ''],
  ]),
  ...of('lib/tasks/run-limit.ts', [
    [
      'a run of tasks goes on after its callback failed',
      '    this.failure ??= { error };\n    this.end();',
      '    this.end();',
    ],
    [
      'remainingMs that throws in a timer ends the process',
      '      this.fail(error);\n      return -1;',
      '      throw error;',
    ],
  ]),
  ...of('lib/tasks/run-tasks.ts', [
    [
      'a run that the store left alone, taken for a success',
      'if (notReached > 0 && cause && !wasStopped) {',
      'if (false as boolean) {',
    ],
  ]),
];

const tasks = [
  ...of('lib/tasks/unsettled.ts', [
    [
      "the moment at which a busy task opens, by another clock than the client's",
      'open.opensAt = this.#plan.clock.monotonic()',
      'open.opensAt = performance.now()',
    ],
    [
      'a block marked as done though one of its tasks is not known to be done',
      "if (outcome !== 'done' && outcome !== 'alreadyDone') block",
      "if (outcome === 'failed') block",
    ],
  ]),
  ...of('lib/tasks/candidates.ts', [
    [
      'tasks that have come wait for an iterator that stays open',
      'await source.take(ms)',
      'await source.take(Infinity)',
    ],
  ]),
  ...of('lib/tasks/source.ts', [
    [
      'a run of tasks waits beyond its end for an iterator that hangs',
      '    if (this.#coming === undefined) await returned;',
      '    await returned;',
    ],
  ]),
  ...of('lib/tasks/options.ts', [
    ['a misspelled option of runTasks, ignored', "  checkNames('runTasks', options, OPTIONS);\n", ''],
  ]),
  ...of('lib/tasks/run-tasks.ts', [
    [
      'a task begun though the last one took longer than the time that is left',
      '    this.#limit.took(clock.monotonic() - started);\n',
      '',
    ],
    [
      "one item of the user's own ends the run of all tasks",
      'error instanceof LockStoreError && error.foreign',
      'false',
    ],
    [
      'a task counted as done though its release failed',
      "if (end === 'unknown' && once !== undefined) {",
      'if (false) {',
    ],
    [
      'a task counted as done though its lease was handed off',
      "return end === 'handedOff' ? 'busy' : 'done';",
      "return 'done';",
    ],
  ]),
];

const middleware = [
  ...of('middleware/lock-plugin.ts', [
    ['a misspelled option of lockPlugin, ignored', "  checkNames('lockPlugin()', plugin, names);\n", ''],
    [
      "Middy's early time-out returns before the lease's signal has aborted",
      '      if (request) timeOut(request);\n',
      '',
    ],
    [
      'the response of another request, taken for that of the handler',
      'holdingsOf(request).hasEnded) request',
      'false) request',
    ],
    [
      'a token done though a busy lock inside a middleware skipped the work',
      '      enter();\n      beforeMiddleware',
      '      beforeMiddleware',
    ],
    [
      "a token done though a busy lock inside Middy's handler skipped the work",
      '    if (request) enterHandler(request);\n',
      '',
    ],
    ["an early time-out that throws another error than Middy's own", "package: '@middy/core'", "package: 'leasehold'"],
    ['a lease kept when a later middleware returns early', '        await requestEnded(request);\n', ''],
    [
      'a lease kept after a failed request of which Middy tells no middleware',
      '      await releaseAll(request);\n      holdingsOf(request)',
      '      holdingsOf(request)',
    ],
    [
      'a response body that is still produced, forgotten',
      'holdingsOf(request).handled = request.response',
      'void request',
    ],
  ]),
  ...of('middleware/hooks.ts', [
    ['a lease kept when the context refuses it', '    await heldByGuard(guard, request)?.release();\n', ''],
    [
      'a lock that was taken for nothing, kept closed by holdAtLeastMs',
      '  for (const held of heldBy(request)) held.isUnused = true;\n',
      '',
    ],
    ['a lease kept when the handler throws', '  await release(held, request);\n', ''],
    [
      'a response that is a promise, not awaited',
      'const response = await request.response;',
      'const response = request.response;',
    ],
    [
      'a once token done though a record failed in locks.using',
      'held.succeed(response, await failedIn(request), holdingsOf',
      'held.succeed(response, new Set(), holdingsOf',
    ],
    [
      'messages deleted though a lock inside of their record locks ended the request',
      'for (const batch of batchesOf(request)) answer = await batch.succeed(answer, new Set());',
      '{}',
    ],
    [
      "a lease released after Middy's early time-out, while the handler runs on",
      "  if (isEarlyTimeout(request.error)) held.abandon('timedOut');\n",
      '',
    ],
    [
      'records that the handler did not get, hidden from earlier middlewares after a failure',
      "  showRecords(guard, request, 'records');\n}\n\n/** Ends what the guard took, after a failure. */",
      '}\n\n/** Ends what the guard took, after a failure. */',
    ],
  ]),
  ...of('middleware/wrap.ts', [
    [
      'a lease released while the response stream is still written to',
      "held.abandon('abandoned')",
      'await held.release()',
    ],
    ['a lease kept when a wrapped handler throws', '      await onError(guard, request);\n', ''],
    ["a lease released though the wrapped handler threw Middy's early time-out", '      request.error = error;\n', ''],
  ]),
  ...of('middleware/remaining.ts', [
    [
      'a release outlasts its invocation where several share a process',
      'return releaseMsOf(this.#ask);',
      'return 1e9;',
    ],
  ]),
  ...of('middleware/batch-records.ts', [
    [
      'a record that is in two groups, overtaken in the second',
      'for (const group of groups) entry.groups.add(group);',
      '',
    ],
  ]),
  ...of('middleware/key-lock.ts', [
    [
      'a part of a batch that succeeded, its once token not done',
      '(done === this.#last || (done.token ?? false))',
      '(done === this.#last)',
    ],
    ['a record that is done, worked on again', "entry.state = 'done';", ''],
    [
      'a record whose token has another form than the finished token, taken for done',
      '        assertOneForm(this.key, entry.token as string, doneToken);\n',
      '',
    ],
  ]),
  ...of('middleware/turns.ts', [
    [
      'work on a record begins before the earlier work on its key has ended',
      '.every((turn) => turns.has(turn))',
      '.every(() => turns.size > 0)',
    ],
    [
      'work inside of other work on the same key waits for itself',
      'lanes.some((lane) => outer.includes(lane))',
      'false',
    ],
    [
      'the wait for work on records goes on after the time is up',
      '(!(await goesOn(Promise.allSettled(turns))))',
      '(false)',
    ],
  ]),
  ...of('middleware/record-batch.ts', [
    [
      'a second work that fails, counted against a record that succeeded',
      'if (isOpen(entry)) this.#batch.stopGroups(entry, error);',
      'this.#batch.stopGroups(entry, error);',
    ],
    [
      'work on a record begins while the leases are being released',
      'for (const lock of this.#locks.values()) lock.ended = true;',
      '',
    ],
    ['a record deleted though an earlier one of its group failed in using', '    this.#batch.holdBack(isOpen);\n', ''],
    ['a record counted as done though it failed under another lock', ' || failed.has(messageId)', ''],
    [
      'the acquire of a record goes on after the time is up',
      '({ ...acquireOptions(), withinMs: leftMs })',
      'acquireOptions()',
    ],
    [
      "no warning when the handler releases a record's lease",
      'warnIfReleased(lease);\n    const hasFailed',
      'void lease;\n    const hasFailed',
    ],
    ['work on a record that nobody awaits ends the process when it fails', '    heed(using);\n', ''],
    [
      'work on a record that nobody awaits, not stopped when the time is up',
      "if (!isInTime) for (const lock of this.#pending) if (!lock.ended) this.#abandonLock(lock, 'abandoned');",
      '',
    ],
    [
      'messages deleted though a later middleware kept them from the handler',
      'if (unworked.length === 0) return;',
      'return;',
    ],
  ]),
  ...of('middleware/clean-up.ts', [
    [
      'a response that waits for a cleanup of another middleware for ever',
      'await new Remaining(request.context as object).settles(Promise.all(cleaning), MOST_MS)',
      'await Promise.all(cleaning)',
    ],
  ]),
  ...of('middleware/request.ts', [
    [
      'a lock opened before holdAtLeastMs after a handler that failed',
      '  for (const held of heldBy(request)) held.isUnused = false;\n',
      '',
    ],
    [
      'the lease of an outer handler, released while an inner handler runs on after its time-out',
      '...(underWay.get(request.context as object) ?? [])',
      '',
    ],
  ]),
  ...of('middleware/body.ts', [
    ['a lease released while a Transform is still written to', " || 'write' in body ||", ' ||'],
    ['a lease released while code still pushes to a Readable', ' || body._destroy === Readable.prototype._destroy', ''],
    [
      'a lease released while a web stream works on inside of a Node stream',
      'return String(body._destroy) !== String(Readable.fromWeb(new ReadableStream() as never)._destroy);',
      'return true;',
    ],
  ]),
  ...of('middleware/held-lease.ts', [
    [
      'a token done though a busy lock inside a streamed body skipped',
      'asInHandler(() => parts.next())',
      'parts.next()',
    ],
    ['a lease released while a handler runs on after its time-out', '    this.#abandoned = true;\n', ''],
    [
      'a lease released when Middy answers for a handler that timed out',
      '    if (this.#abandoned) return response;\n',
      '',
    ],
    ['a lease that was abandoned, released once it has expired', '    if (this.#abandoned) return;\n', ''],
    [
      'a lease released before the last byte of the response',
      'const body = bodyIn(response);\n',
      'const body = undefined as Body | undefined;\n',
    ],
    ['a once token done before the reader has taken the last part', 'highWaterMark: 0,', 'highWaterMark: 16,'],
    [
      'a once token done though a record of the batch failed',
      'failed.size === 0 && !hasFailures(response, this.#isBatch)',
      'failed.size === 0',
    ],
    [
      'a lease released while a body that a middleware dropped is still produced',
      'if (dropped && !(dropped as Readable).readableEnded) await',
      'if (false) await',
    ],
    [
      'a once token not done though another middleware has read the whole body',
      ' && !(dropped as Readable).readableEnded',
      '',
    ],
    [
      'a lease that was lost causes no error',
      "if (this.#onLost === 'throw' && this.lease.loss) throw this.lease.loss;",
      '',
    ],
    [
      'a lease released while the body of the response works on',
      '(isEnded || isTold) && (await this.#remaining.settles(closed))',
      'isTold',
    ],
    ['a lease released while a body that failed by itself works on', '(source.closed && isTold)', 'source.closed'],
    ['a body that fails while it closes ends the process', "      source.on('error', () => {});\n", ''],
    [
      'a once token done though the response stream broke',
      'return await this.#end();',
      'return await this.#end(true);',
    ],
    [
      'a lease released while a Transform inside of another lock is still written to',
      'isOver && !(untold in source)',
      'isOver',
    ],
    ['no warning when the handler releases the lease of its lock', '    warnIfReleased(this.lease);\n', ''],
    ['a body that a middleware compresses, destroyed', ' || this.#sent.readableFlowing !== null', ''],
    ['a body whose error nobody listens to ends the process', "    sent.on('error', () => {});\n", ''],
    ['a body that is still produced after its request has failed', '      this.#sent.destroy();\n', ''],
  ]),
  ...of('middleware/configure.ts', [
    ['a key that is a promise which rejects ends the process', '  heed(value);\n', ''],
    ['locks and an option of their store together, accepted', 'if (ofStore.length > 0) {', 'if (false) {'],
    [
      'a listener beside a LockClient, accepted and never called',
      '  if (onEvent === undefined) return locks;',
      '  if (locks) return locks;',
    ],
  ]),
  ...of('middleware/lock-records.ts', [
    ['a misspelled option of lockRecords, ignored', '  checkNames(what, options, names);\n', ''],
  ]),
  ...of('middleware/lock-guard.ts', [
    ['a token done though a busy lock inside skipped the work', '  noteSkip(isBusy);\n', ''],
    [
      'a skipped run that looks like a run that did its work',
      '  logSkip((error as LockBusyError | LockDoneError).key, token, error);\n',
      '',
    ],
    ['a misspelled option of lock, ignored', '  checkNames(what, options, names);\n', ''],
    ['messages deleted though their lock skipped them', "isBusy && respond === 'skip' ? allFailed(event) : ", ''],
    [
      'messages deleted though a lock inside of their record locks skipped them',
      'hasRecordLocks(context) ? allFailed(event) : undefined',
      'undefined',
    ],
    [
      'a second lock under the contextKey of the first one, taken before it is refused',
      '    checkPlace(context, contextKey);\n',
      '',
    ],
  ]),
  ...of('middleware/wrap.ts', [
    [
      'a handler with a callback, run without its lock',
      "if (handler.length > 2 && !stream && typeof more[0] !== 'object')",
      'if (false)',
    ],
    ['a lease kept by a wrapped handler that fails', '      await onError(guard, request);\n', ''],
    ['a wrapped handler that is no function, accepted', "  checkFunction('handler', handler);\n", ''],
  ]),
  ...of('middleware/invocation.ts', [
    [
      'two locks under one contextKey, accepted',
      "if (typeof other?.isHeld === 'function' && other.isHeld())",
      'if (false)',
    ],
    [
      'a remaining time that is a promise which rejects ends the process',
      'Math.floor(remainingOf({ remainingMs }))',
      'Math.floor(remainingMs())',
    ],
    [
      'a lock around a durable execution, accepted',
      "if ('lambdaContext' in context && 'step' in context)",
      'if (false)',
    ],
    [
      'a lease that outlasts its invocation',
      'remainingMs: process.env.AWS_LAMBDA_MAX_CONCURRENCY ? undefined : remainingMs,',
      'remainingMs: undefined,',
    ],
  ]),
];

const guard = of('lib/dynamodb/guarded-write.ts', [
  ['a guarded write sent without its guard', '[...checks, ...transactItems]', '[...transactItems]'],
  ['a lease believed though its guard was refused', "  for (const lease of refused) lease.abandon('takenOver');\n", ''],
  ['a guarded write sent though the lease is not held', '    held.assertHeld();\n', ''],
]);

const s3 = [
  ...of('lib/s3/bucket.ts', [
    [
      'a write without a condition',
      "ContentType: 'application/json', ...condition }",
      "ContentType: 'application/json' }",
    ],
    ['a write over any object', "? { IfNoneMatch: '*' } : { IfMatch: seen }", '? {} : { IfMatch: seen }'],
    ['a conflict of two writes is a fault', 'status !== 412 && status !== 409', 'status !== 412'],
    ['an object that is gone is a fault', 'status !== 409 && code !== NO_OBJECT', 'status !== 409'],
    [
      'a bucket that is gone, or the page of a proxy, is a free lock',
      '({ code, dates }) =>\n      code === NO_OBJECT ? dates',
      '({ status, dates }) =>\n      status === 404 ? dates',
    ],
    [
      'the page of a proxy is a setting that was never made',
      "(UNSET.test(code) ? 'none'",
      "(code !== 'NoSuchBucket' ? 'none'",
    ],
    [
      'an answer without an ETag is a grant',
      'if (bare && !isWeak) return bare;',
      "if (!isWeak) return bare ?? 'none';",
    ],
    ['a weak ETag is a version', 'if (bare && !isWeak) return bare;', 'if (bare) return bare;'],
    ['an ETag with its quotes', `etag?.replaceAll('"', '')`, 'etag'],
    ['an object of any length is read', 'if (ContentLength > MOST_BYTES) {', 'if (false) {'],
    ["a refusal of the time in the signature, sent again by the SDK's own clock", 'heard, true);', 'heard);'],
    ['a server without conditions is asked again', ' && metadata.httpStatusCode !== 501', ''],
  ]),
  ...of('lib/s3/store.ts', [
    ['a miss of the second sending says nothing of the first', 'maybeApplied: attempts > 1', 'maybeApplied: false'],
    ['a list of S3 Express by half a folder', 'this.#bucket.isExpress ?', 'false ?'],
    ['a page has more objects than can be read in time', ' signal, PAGE);', ' signal, 1_000);'],
    ['a long key is listed by no prefix', "if (key !== undefined || !name.includes('~')) return key;", 'return key;'],
    ['a store in a bucket of several Regions', ':[\\w-]+:\\d{12}:', ':[\\w-]*:\\d{12}:'],
  ]),
  ...of('lib/s3/findings.ts', [
    ['a rule that deletes live locks is no finding', 'Days <= LONGEST_LEASE_DAYS', 'Days < LONGEST_LEASE_DAYS'],
    ['a rule for other objects is a finding', 'prefix.startsWith(of) || of.startsWith(prefix)', 'true'],
  ]),
];

const commits = [
  ...of('lib/record/transitions.ts', [
    [
      'commit in memory of a grant of another holder',
      '!isGrantOf(lockId, record) || number !==',
      'record === undefined || number !==',
    ],
    ['commit in memory over a later commit', ' || number !== (record.committed?.number ?? 0) + 1', ''],
    [
      'commit in memory under the token of the commit before',
      'committed: { data, number, fencingToken: record.fencingToken }',
      'committed: { data, number, fencingToken: record.committed?.fencingToken ?? record.fencingToken }',
    ],
    [
      'a grant in memory forgets the commit',
      'tookOver: replacedBy(record),\n',
      'tookOver: replacedBy(record), committed: undefined,\n',
    ],
  ]),
  ...of('lib/dynamodb/writes.ts', [
    [
      'commit of a grant of another holder',
      "`${MINE} AND ${number === 1 ? 'attribute_not_exists(commits)'",
      "`(${MINE} OR lockId <> :me) AND ${number === 1 ? 'attribute_not_exists(commits)'",
    ],
    [
      'the first commit written over another one',
      "number === 1 ? 'attribute_not_exists(commits)'",
      "number === 1 ? 'lockId = :me'",
    ],
    ['commit over a later commit', "'commits = :before'", "'(commits = :before OR commits <> :before)'"],
  ]),
  ...of('lib/lease/commit.ts', [
    [
      'the commits of one lease are made side by side',
      'this.#turn.then(() => this.#write(data, requestTimeoutMs))',
      'this.#write(data, requestTimeoutMs)',
    ],
    ['a commit fails with the commit before', 'written.catch(() => {})', 'written'],
    ['the numbers of a lease do not count on from earlier holders', '    this.#last = grant.record.committed;\n', ''],
    [
      'a commit whose answer was lost is made twice',
      'if (applied || (stands?.number === number',
      'if (applied || (false && stands?.number === number',
    ],
    ["another holder's commit of the same data counts as one's own", ' && stands.fencingToken === fencingToken', ''],
    ['a commit of other data counts as the own one', ' && stands.data === data', ''],
    [
      'a commit that another grant refused is no loss',
      'if (!isGrantOf(lockId, record)) return lossOf(record);',
      'if (!isGrantOf(lockId, record)) return undefined;',
    ],
    ['a commit whose answer was lost blocks the next commits', '      this.#last = stands;\n', ''],
  ]),
  ...of('lib/lease/lease.ts', [
    ['a lease believed though its commit was refused', '    this.#heartbeat.lose(loss);\n', ''],
    [
      'a commit sent though the lease is not held',
      '    this.assertHeld();\n    const loss = await this.#commits',
      '    const loss = await this.#commits',
    ],
  ]),
];

const swaps = [
  ...of('lib/record/transitions.ts', [
    ['a repair of a broken record mends a whole record', 'if (!isBroken(record) || ', 'if (isBroken(record) && '],
    [
      'a repair of a broken object opens the lock before its expiry',
      '!immediately && isBefore(opensAt, record.expiresAt)',
      'false',
    ],
    [
      'a repair of a broken object lowers its token',
      '!mayLower && isBefore(fencingToken, record.fencingToken)',
      'false',
    ],
    [
      'a repair of a broken object lowers a token that the operator did not see',
      'lowersToken && (seen === undefined || isSeen(record, seen))',
      'lowersToken',
    ],
    ['a repair of a broken object leaves its grant', 'ending = { lockId: undefined, ', 'ending = { '],
  ]),
  ...of('lib/record/transitions.ts', [
    [
      'a coalescing grant asks for no run',
      'coalesce === undefined ? record?.asked : (record?.asked ?? 0) + 1',
      'record?.asked ?? 1',
    ],
    ['a coalescing grant though nothing is owed', "coalesce === 'ifOwed' && ", 'false && '],
    [
      'a plain grant that can be asked for one more run',
      'serving: coalesce === undefined ? undefined : asked',
      'serving: asked',
    ],
    ['a served release while another run is under way', 'record.serving !== served || ', ''],
    ['a served release though somebody has asked', ' || record.asked !== served)', ')'],
    ['an ask of another grant', '!isGrantOf(seen, record) || record.serving', 'record === undefined || record.serving'],
    ['an ask that comes twice asks twice', ' || record.asked !== serving) return', ') return'],
    ['a turn to a run that serves less', '(record.serving ?? 0) >= serving || ', ''],
    ['a turn to a run that nobody asked for', ' || (record.asked ?? 0) < serving', ''],
    [
      'a result that outlives its token',
      'doneToken === undefined ? record.doneResult : doneResult',
      'doneResult ?? record.doneResult',
    ],
  ]),
  ...of('lib/dynamodb/writes.ts', [
    ['a served release on DynamoDB though somebody has asked', ' AND asked = :served`', '`'],
    ['a served release on DynamoDB while another run is under way', '${MINE} AND serving = :served AND', '${MINE} AND'],
    [
      'an ask of another grant on DynamoDB',
      "'lockId = :seen AND serving",
      "'(lockId = :seen OR lockId <> :seen) AND serving",
    ],
    ['an ask on DynamoDB that comes twice asks twice', "AND asked = :serving',", "AND asked >= :serving',"],
    ['a turn on DynamoDB to a run that serves less', ' OR serving < :serving)', ' OR serving <= :serving)'],
    ['a plain grant on DynamoDB that can be asked for one more run', "coalesce === undefined ? ['serving'] : []", '[]'],
    ['a result on DynamoDB that outlives its token', "? ', doneResult' : ''", "? '' : ''"],
  ]),
  ...of('lib/swap/swap-store.ts', [
    [
      'a swap that misses, taken for a refusal without reading again',
      '      misses++;\n',
      '      misses++;\n      return { applied: false, record, ...datesOf(swapped) };\n',
    ],
    ['the own writeId, read back, not recognised', 'if (entry?.writeId === writeId)', 'if (false)'],
    [
      'a request refused by what the store remembers',
      'if (changed === undefined && remembered === undefined)',
      'if (changed === undefined)',
    ],
    [
      'a version remembered though the answer to its swap was lost',
      '      this.#remembered.delete(key);\n      const written',
      '      const written',
    ],
    [
      'a request other than a repair, judged by a record without an expiry',
      'const isJudged = damage === undefined || (transition as unknown) === transitions.repair;',
      'const isJudged = true;',
    ],
    ['a version not remembered', '        this.#remember(key, { entry: written, version: swapped.version });\n', ''],
    ['a reading not remembered', '    this.#remember(key, loaded);\n', ''],
    [
      'any number of versions remembered',
      'new Recent<string, Loaded<Version>>(MOST_REMEMBERED)',
      'new Map<string, Loaded<Version>>()',
    ],
    [
      'a swap that was applied and overtaken, forgotten',
      '      maybeAppliedBefore ||= swapped.maybeApplied ?? false;\n',
      '',
    ],
    [
      'a swap that was applied and overtaken, forgotten after 8 misses',
      'conflict: !maybeAppliedBefore,',
      'conflict: true,',
    ],
    [
      'the lost answer of the eighth swap, not looked for',
      '      maybeAppliedBefore ||= swapped.maybeApplied ?? false;\n',
      '      maybeAppliedBefore ||= swapped.maybeApplied ?? false;\n      if (misses === SWAPS) throw conflictOver(key, maybeAppliedBefore);\n',
    ],
    [
      'a swap that misses, tried for ever',
      '      if (misses === SWAPS) throw conflictOver(key, maybeAppliedBefore);\n',
      '',
    ],
    ['a request that was given up, written after its reading', '      signal?.throwIfAborted();\n', ''],
    [
      'a swap tried against a holder who was seen, and has renewed since',
      'if (this.#remembered.get(request.key)?.entry?.record.lockId !== undefined)',
      'if (false)',
    ],
  ]),
  ...of('lib/swap/read-each.ts', [
    [
      "an object of the user's own hides all locks",
      'if (error instanceof LockStoreError && error.foreign) continue;',
      '',
    ],
    ['readings go on after one has failed', '        left.length = 0;\n', ''],
    ['one reader for each key of a list', '{ length: READERS }', '{ length: items.length }'],
  ]),
  ...of('lib/swap/entry.ts', [
    ['the record of another key, read', 'if (record.key !== key)', 'if (false)'],
    ['a later form of the content, read', 'if (content?.leasehold !== FORM)', 'if (!content?.leasehold)'],
    ['a token that is no number, read', "typeof fencingToken === 'number' && ", ''],
    ['a flawed record, read as whole', 'return flaw === undefined ? record : { ...record, flaw };', 'return record;'],
    [
      'a finished token that is no text, read as none',
      'doneToken: hasNoText ? NO_TOKEN : textOf(doneToken),',
      'doneToken: textOf(doneToken),',
    ],
    [
      'two writes with the same bytes',
      '{ leasehold: FORM, writeId, record }',
      "{ leasehold: FORM, writeId: '', record }",
    ],
  ]),
  ...of('lib/swap/object-name.ts', [
    ['two long keys with one name', " + createHash('sha256').update(key).digest('hex')", ''],
    ['a name that is too long', 'most - HASH_LENGTH', 'most'],
    ['two keys of which one is the escape of the other, with one name', '/[a-z0-9_\\-/]/', '/[a-z0-9_\\-/%]/'],
    [
      'two keys that differ in capitals, with one name where capitals do not count',
      '/[a-z0-9_\\-/]/',
      '/[a-zA-Z0-9_\\-/]/',
    ],
    ['a foreign name, read as a key', 'return escaped(key) === name ? key : undefined;', 'return key;'],
  ]),
  // The simulation must see a store that breaks its promise.
  ...of('test/simulation/network.ts', [
    ['a swap without its condition', '    if (this.#object?.version !== seen) return undefined;\n', ''],
  ]),
];

const settings = [
  ...of('lib/lease/change.ts', [
    ['a hint that fails ends the pause', '.catch(() => paused)', '.catch(() => {})'],
    ['a store that hints at all times is asked at all times', 'pause(clock, LEAST_MS, over.signal)', 'undefined'],
    ['a hint is waited for after its pause', '    over.abort();\n', ''],
    ['a pause that only a hint ends', 'await Promise.race([paused, hinted]);', 'await hinted;'],
  ]),
  ...of('lib/lease/lease-client.ts', [
    ["a store's own time-out, ignored by leases", ', requestTimeoutMs: store.requestTimeoutMs }', ' }'],
  ]),
  ...of('lib/lease/gate.ts', [
    ["a store's own time-out, ignored by operators", 'requestTimeoutMs = store.requestTimeoutMs', 'requestTimeoutMs'],
  ]),
  ...of('lib/lease/server-clock.ts', [
    ["the steps of a store's dates, ignored", 'new ServerClock(clock, store)', 'new ServerClock(clock)'],
  ]),
];

const permits = [
  ...of('lib/record/recent.ts', [
    [
      'the entry that was set last is the first to go',
      '    this.delete(key);\n    super.set(key, value);\n',
      '    super.set(key, value);\n',
    ],
  ]),
  ...of('lib/lease/slots.ts', [
    ['a slot that a look left out, taken for free', '!this.#leftOut.has(key) && ', ''],
    ['an old look, believed over a refusal', 'fresher(known, record)', 'record'],
    ['any number of writes in one try', 'const MOST_WRITES = 3;', 'const MOST_WRITES = 30;'],
    ['no look before the next try after a busy answer', "isFull ? 'look' : undefined", 'undefined'],
    ['a slot of a lease of the same client, asked for', '!leases.of(key)?.isHeld() && ', ''],
    ['a slot that another call of the client asks for, asked for', '!leases.asked.has(key) && ', ''],
    ['a damaged slot, written to again', ' && !this.#damaged.has(key));', ');'],
    ['a look by each call of a line', 'isFirst ? MOST_WRITES : 1', 'MOST_WRITES'],
    [
      'slots of any number of keys remembered',
      'new Recent<string, Remembered>(MOST_KEYS)',
      'new Map<string, Remembered>()',
    ],
  ]),
  ...of('lib/lease/lease.ts', [
    ['a release of slot 0 in the place of its own', 'const { recordKey: key, lockId', 'const { key, lockId'],
  ]),
  ...of('lib/lease/resume.ts', [['a lease resumed in slot 0', 'handle.slot ?? 0', '0']]),
  ...of('lib/lease/acquisition.ts', [
    ['a damaged slot keeps the call out of the others', '(error instanceof LockStoreError && error.foreign)', 'false'],
    ['a damaged slot, told to nobody', 'if (this.#fault !== undefined) throw this.#fault;', ''],
  ]),
  ...of('lib/lease/line.ts', [
    [
      'calls for different slots wait for each other',
      'return [...restsOf(own).slice(0, 1), ...others];',
      'return restsOf(own).slice(0, 1);',
    ],
    [
      'a first call that looks does not hear of a lease that has ended',
      'hasEnded || !waiter.isAsking',
      '!waiter.isAsking',
    ],
    ['a slot that was served for a second does not rest', ' && this.#restOf(key) <= 0', ''],
  ]),
  ...of('lib/record/slot-keys.ts', [['two keys that share slots', '= /#\\d+$/.test(checked)', '= false']]),
];

const coalescing = [
  ...of('lib/lease/coalesce.ts', [
    ['a caller is covered by a plain holder', 'const runs = record.serving !== undefined && ', 'const runs = '],
    [
      'a caller is covered by a holder whose lease has expired',
      ' && context.serverClock.untilOpenMs(record) > 0;',
      ';',
    ],
    ['a caller asks though somebody has asked', ' || (seen.asked ?? 0) > serving) return seen;', ') return seen;'],
    ['a caller is covered without an ask', '(seen.asked ?? 0) > serving)', '(seen.asked ?? 0) >= serving)'],
    ['a sweeper asks for a run', "plan.coalesce === 'ifOwed' || (seen", '(seen'],
    ['a caller is covered by its own late attempt', 'if (acquisition.attempts.isOurs(record)) {', 'if (false) {'],
    [
      'a run begins before its write is answered',
      '    lease.assertHeld();\n    if (answer.status',
      '    if (answer.status',
    ],
    [
      'a write of the next run that another grant refuses begins the run',
      'if (!isGrantOf(lockId, record)) {',
      'if (false) {',
    ],
    ['a run that serves less than was written', 'level = next;', ''],
    ['a holder runs on though its client is closed', "    if (this.#context.closing.aborted) return 'closed';\n", ''],
    ['a holder runs on without time', "    if (leftMs < this.#longestMs + reserveMs) return 'noTime';\n", ''],
    [
      'a run that fails keeps the lock',
      '      await lease.release({ withinMs: this.#releaseMs });\n      if (!lease.loss)',
      '      if (!lease.loss)',
    ],
    ['a loss told as a run that is owed', '    if (lease.loss) throw lease.loss;\n', ''],
    [
      'a release without an answer counts as served',
      "if (released.type === 'unknown') return this.#owed('unknown');",
      "if (released.type === 'unknown') return NOTHING_OWED;",
    ],
  ]),
  ...of('lib/lease/release.ts', [
    [
      'a served release whose answer was lost counts as a loss',
      '  if (served !== undefined) return (record?.served ?? 0) >= served;\n',
      '',
    ],
    [
      'a release that was refused for an ask counts as a loss',
      "if (served !== undefined && isGrantOf(lockId, record)) return { type: 'asked', record };",
      '',
    ],
  ]),
  ...of('lib/lease/lease.ts', [
    ['a lease is held while its release is out', "    this.#state = 'releasing';\n", ''],
    ['a renewal is sent behind a release', '    this.#heartbeat.pause();\n', ''],
    ['no renewals in the second run', '      this.#heartbeat.resume();\n', ''],
    ['a lease cannot be released after a release that was refused', '      this.#releasing = undefined;\n', ''],
    [
      'a result of a token that was done before',
      'const doneResult = doneToken === undefined ? undefined : result;',
      'const doneResult = result;',
    ],
  ]),
  ...of('middleware/coalesced.ts', [
    [
      'records that go back count as served',
      'if (this.comesAgain || this.#held.hasSkipped)',
      'if (this.#held.hasSkipped)',
    ],
    ['work that was skipped counts as served', 'if (this.comesAgain || this.#held.hasSkipped)', 'if (this.comesAgain)'],
    [
      'a lease released under a handler that timed out',
      "      if (isEarlyTimeout(error)) lease.abandon('timedOut');\n",
      '',
    ],
    ['an error of the handler taken for a busy lock', '      if (runs.began) throw error;\n', ''],
    ['a run left owed, and nobody told', "if (onOwed === 'throw') throw error;", ''],
  ]),
];

const lines = [
  ...of('lib/lease/line.ts', [
    [
      'nobody tends a line whose first call has left',
      '    this.#waiters.delete(waiter);\n    this.#wakeNext(false);\n',
      '    this.#waiters.delete(waiter);\n',
    ],
    [
      'nobody tends a line whose lease has ended',
      '    this.#learn(record);\n    this.#wakeNext(true);\n',
      '    this.#learn(record);\n',
    ],
  ]),
  ...of('lib/lease/streak.ts', [
    [
      'a client that takes its lock again and again never rests',
      'elapsedMs(this.#since, now) >= this.#servedMs',
      'false',
    ],
    [
      'a client rests as often though nobody else comes',
      'Math.min(2 * this.#servedMs, SERVED_MS.most)',
      'this.#servedMs',
    ],
  ]),
  ...of('lib/lease/own-leases.ts', [
    ['an earlier lease of a key ends the later one', '    if (this.#last.get(key) !== lease) return;\n', ''],
  ]),
  ...of('lib/lease/stall.ts', [
    ['any late timer explains a loss', 'Math.max(LEAST_STALL_MS, leaseMs * LEAST_SHARE)', '0'],
    [
      'a frozen process is told as a blocked event loop',
      'const detail =\n    monotonic >= leastMs',
      'const detail =\n    wall >= leastMs',
    ],
  ]),
];

const several = [
  ...of('lib/lease/leases.ts', [
    [
      'a client that is closed at once leaves the locks of a call under way to their expiry',
      'onAbort([closing], () => void discardEach(leases))',
      'onAbort([], () => {})',
    ],
    [
      'several keys, in the order of the caller',
      '.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))',
      '.slice()',
    ],
    [
      'several leases, kept though one key is refused',
      '    await discardAll(clock, leases, Math.min(plan.requestTimeoutMs, budget.leftMs));\n',
      '',
    ],
    [
      'a wait for the next key though a lease is lost',
      'either(options.signal, ...leases.map((lease) => lease.signal))',
      'either(options.signal)',
    ],
    ['a key that is named twice', '  if (twice !== undefined) throw', '  if (false) throw'],
  ]),
];

const leading = [
  ...of('lib/lease/lead.ts', [
    [
      'a campaign while the work of the last term goes on',
      'await Promise.race([work, this.#left.promise])',
      'await Promise.race([work, lease.ended.then(() => ({})), this.#left.promise])',
    ],
    [
      'a lease released under the work of a leader that stops',
      'await this.#lease.close(reason, this.#plan.graceMs);',
      'await this.#lease.release();',
    ],
    ['a leader that keeps its lease after its work', '    if (outcome) await this.#unlessLeft(lease.release());\n', ''],
    ['no rest after work that returned', ' : this.#plan.restMs;', ' : 0;'],
    ['a back-off that never begins anew', '    if (ledMs >= GOOD_TERM_MS) this.#afterFailure.reset();\n', ''],
    [
      'a candidate that campaigns after its stop',
      '      if (lease === undefined || this.#isOver) return;\n',
      '      if (lease === undefined) return;\n',
    ],
  ]),
];

export const mutants = [
  ...s3,
  ...dynamodb,
  ...record,
  ...clocks,
  ...attempts,
  ...client,
  ...lease,
  ...callbacks,
  ...tasks,
  ...middleware,
  ...guard,
  ...commits,
  ...swaps,
  ...settings,
  ...permits,
  ...coalescing,
  ...lines,
  ...several,
  ...leading,
];
