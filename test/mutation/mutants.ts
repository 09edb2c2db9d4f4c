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
const dynamodb = of('lib/dynamodb/store.ts', [
  ['acquire without "no record"', '`attribute_not_exists(#key) OR (', '`('],
  ['acquire without "expired"', 'AND expiresAt <= :now AND ', 'AND '],
  ['acquire before the expiry has come', 'AND expiresAt <= :now', 'AND expiresAt < :now'],
  [
    'acquire of an item without a token',
    'attribute_type(fencingToken, :number) AND attribute_type(expiresAt, :number)',
    'attribute_type(expiresAt, :number)',
  ],
  ['one bad item hides the rest', '    } catch {\n      return [];', '    } catch (error) {\n      throw error;'],
  ['acquire without "not mine already"', ' AND lockId <> :me AND', ' AND'],
  ['acquire without "not released by me"', ' AND releasedBy <> :me)', ')'],
  ['once without "none done"', "'(attribute_not_exists(doneToken) OR doneToken < :once)'", "'doneToken < :once'"],
  ['once without "a later one"', 'OR doneToken < :once)', 'OR doneToken < :once OR doneToken >= :once)'],
  ['once, the same again', 'doneToken < :once', 'doneToken <= :once'],
  ['a token that stays', 'if_not_exists(fencingToken, :now) + :one', 'if_not_exists(fencingToken, :now)'],
  ['a token that starts anew', 'if_not_exists(fencingToken, :now) + :one', ':now + :one'],
  ['a token that starts at nothing', 'if_not_exists(fencingToken, :now)', 'if_not_exists(fencingToken, :zero)'],
  ['a grant that forgets what it took over', 'if_not_exists(expiresAt, :zero)', ':zero'],
  [
    'renew without the owner',
    '`${MINE} AND expiresAt <= :until`',
    '`(${MINE} OR lockId <> :me) AND expiresAt <= :until`',
  ],
  ['renew that shortens', '`${MINE} AND expiresAt <= :until`', 'MINE'],
  ['release without the owner', 'ConditionExpression: MINE,', 'ConditionExpression: `${MINE} OR lockId <> :me`,'],
  ['release that opens at 0', 'expiresAt = acquiredAt + :hold', 'expiresAt = :hold'],
  ['release at once, whatever the least', 'N(Math.max(1, holdAtLeastMs))', 'N(1)'],
  ['release that does not say whose', 'SET releasedBy = :me, expiresAt = acquiredAt', 'SET expiresAt = acquiredAt'],
  [
    'give back without the owner',
    '`${MINE} AND fencingToken = :token`',
    '`(${MINE} OR lockId <> :me) AND fencingToken = :token`',
  ],
  [
    'give back without the token',
    '${MINE} AND fencingToken = :token',
    '${MINE} AND (fencingToken = :token OR fencingToken <> :token)',
  ],
  [
    'give back of the expiry alone',
    '(restored ? `, lockId = :restored${FORGET_PREVIOUS}` :',
    "(restored === '' ? '' :",
  ],
  ['resume without the handle', '`lockId = :handed AND', '`(lockId = :handed OR lockId <> :handed) AND'],
  [
    "resume of an item of the user's own",
    'lockId = :handed AND ${IS_LOCK} AND',
    '(${IS_LOCK} OR lockId = :handed) AND lockId = :handed AND',
  ],
  [
    "force release of an item of the user's own",
    '`lockId = :seen AND ${IS_LOCK}`',
    '`lockId = :seen AND (${IS_LOCK} OR lockId = :seen)`',
  ],
  ['resume into the past', ' AND acquiredAt < :until', ''],
  [
    'resume with the same token',
    'fencingToken = fencingToken + :one',
    'fencingToken = fencingToken, leaseCount = :one',
  ],
  ['force release without the grant', '`lockId = :seen AND', '`(lockId = :seen OR lockId <> :seen) AND'],
  ['a guard that lets all through', "'lockId = :lockId'", "'lockId = :lockId OR lockId <> :lockId'"],
  [
    'refusals that bring no record',
    "ReturnValuesOnConditionCheckFailure: 'ALL_OLD'",
    "ReturnValuesOnConditionCheckFailure: 'NONE'",
  ],
]);

const memory = of('lib/testing/memory.ts', [
  ['acquire without "expired"', 'old.expiresAt <= now && ', ''],
  ['acquire without "not mine already"', ' && old.lockId !== lockId', ''],
  ['acquire without "not released by me"', ' && old.releasedBy !== lockId', ''],
  ['once, not asked', 'if (!free || isDone(once, old?.doneToken))', 'if (!free)'],
  ['everything without the owner', 'old !== undefined && old.lockId === lockId ?', 'old !== undefined ?'],
  [
    'renew that shortens',
    '(old.expiresAt <= until ? { ...old, expiresAt: until } : undefined)',
    '({ ...old, expiresAt: until })',
  ],
  ['give back without the token', 'if (old.fencingToken !== fencingToken) return undefined;', ''],
]);

const clocks = [
  ...of('lib/lease/clock.ts', [
    ['the wall clock alone', 'Math.max(to.wall - from.wall, to.monotonic - from.monotonic)', 'to.wall - from.wall'],
    [
      'the monotonic clock alone',
      'Math.max(to.wall - from.wall, to.monotonic - from.monotonic)',
      'to.monotonic - from.monotonic',
    ],
    ['a timer that keeps the process', '?.unref?.()', ''],
  ]),
  ...of('lib/lease/server-clock.ts', [
    ["the server's Date unheard", 'if (date === undefined || !Number.isFinite(date)) return;', 'return;'],
    [
      'a wrong clock never disproved',
      'return tooSoonMs > safetyMs || -tooSoonMs > Math.max(safetyMs, DATE_STEP_MS);',
      'return tooSoonMs > Number.MAX_VALUE;',
    ],
    ['an expiry too soon, not disproved', 'return tooSoonMs > safetyMs || ', 'return '],
    ['an expiry too late, not disproved', ' || -tooSoonMs > Math.max(safetyMs, DATE_STEP_MS)', ''],
    ['taken too early, unseen', 'return date + DATE_STEP_MS <= previousExpiresAt;', 'return false;'],
    [
      'taken too early by a wrong clock, unseen',
      'return Math.max(date, this.#clock.now() + this.#lowest) < previousExpiresAt;',
      'return false;',
    ],
    ['a clock that was set, believed', 'if (hasStepped(sent, received)) return;', ''],
    ['what a slow answer does not tell, believed', ': Math.max(0, told);', ': 0;'],
    [
      'fast answers that vouch for a clock that stood still',
      'const told = this.#lastHighest',
      'const told = this.#highest',
    ],
    ['a clock that was judged before it was set', ' && !hasStepped(this.#judgedAt, moment));', ');'],
    ['what was known before the clock was set, forgotten', 'isKnown ? this.behindMs : behindMs', 'this.behindMs'],
    ['an answer without a date, believed', 'this.#isDateless = !this.#wasDated;', 'this.#isDateless = true;'],
    ["compared by a relay's date", 'Math.min(0, this.#lowest)', 'this.#lowest'],
    ["written by a relay's date", 'Math.max(0, this.#highest) : this', 'this.#highest : this'],
    ["a relay's date that is off by hours, doubted", '<= RELAY_MOST_MS', '<= Number.MAX_VALUE'],
  ]),
  ...of('lib/lease/send.ts', [
    ['a clock that nobody judged', 'if (clock.isDisciplined || serverClock.isJudged(now)) return now;', 'return now;'],
    ['each judges for itself', '  serverClock.judging = judging;\n', ''],
    ['one waits for the judging of all, one after the other', '      mayJoin = false;\n', ''],
    ['a close that waits for the judging', 'either(closing, options.signal)', 'either(options.signal)'],
    [
      'a refusal that tells no time',
      '    if (error instanceof LockStoreError && error.serverDate !== undefined) serverClock.observe(sent, error);\n',
      '',
    ],
    [
      'a release refused for its time, not sent again',
      'else if (isMisdated(error) && resendsMisdated) resendsMisdated = false;',
      '',
    ],
  ]),
  ...of('lib/dynamodb/store.ts', [
    ['a relay, unseen', ' || !AWS_HOST.test(hostname)', ''],
    ['a request without TLS, whose date anybody may write', "protocol !== 'https:' || ", ''],
    ['the date of a cache', ' || age !== undefined', ''],
    [
      'a misdated request, sent again as it stands',
      '$metadata?.misdated)) throw error;',
      '$metadata?.misdated && false)) throw error;',
    ],
    ['any refusal of a signature, taken for one of its time', '> MISDATED_MS', '>= 0'],
    ["the user's own requests, not sent again", 'if (!(isOurs && ', 'if (!('],
  ]),
];

const acquisition = of('lib/lease/acquisition.ts', [
  [
    'the deadline from the answer',
    '{ ...attempt, fencingToken,',
    '{ ...attempt, sent: instant(this.#context.clock), fencingToken,',
  ],
  ['one id for all attempts', 'const lockId = newLockId();', 'const lockId = [...this.#tried][0] ?? newLockId();'],
  ['a grant that came too late, believed', 'if (!isLate && ', 'if ('],
  ['a grant that nobody waits for, kept', ' && !closing.aborted && !signal?.aborted) return;', ') return;'],
  [
    'what may have been granted, left',
    '        await this.#discard(lockId, until);\n      }\n      throw error;',
    '      }\n      throw error;',
  ],
  ['an earlier attempt, left', '    await this.#discard(lockId as string, expiresAt);\n    throw', '    throw'],
  [
    'a wrong clock, believed',
    'if (this.#wasMisjudged(attempt, record, serverDate))',
    'if (this.#wasMisjudged(attempt, record, serverDate) && false)',
  ],
  ['a give back of nobody knows what', '    if (record.previousExpiresAt === undefined) return record;\n', ''],
  [
    'a second give back of nobody knows what',
    'else if (standing.fencingToken === record.fencingToken + 1) await',
    'else await',
  ],
  ['an acquire refused for its time, not written anew', '      if (isMisdated(error)) return undefined;\n', ''],
  ['given back to the moment of a wrong clock', 'Math.min(serverClock.now(key), serverDate)', 'serverClock.now(key)'],
  ['closed for less than was asked, on a wrong clock', 'Math.ceil(holdAtLeastMs + lateMs)', 'holdAtLeastMs'],
  ['busy with itself', '      await this.#discardOurs(second.record);\n', ''],
  [
    'a clock that was set meanwhile, believed',
    'if (!attempt.isJudged && hasStepped(attempt.sent, instant(this.#context.clock))) {',
    'if (false) {',
  ],
  [
    'a grant beyond the invocation',
    'Math.min(holdAtMostMs, this.#remainingMs - elapsedMs(this.#started, sent))',
    'holdAtMostMs',
  ],
  ['an acquire sent past its deadline', 'if (believeMs > 0) return;', 'return;'],
  ['a waiter that writes all the while', 'seen = await this.#look(seen);', 'return undefined;'],
]);

const client = [
  ...of('lib/lease/client.ts', [
    ['a lease that is born while its client is closing', 'while (leases.size + this.#pending.size > 0) {', '{'],
    [
      'a name that a snapshot keeps',
      '    plan.owner ??= defaultOwner();\n',
      "    plan.owner ??= 'a name that was there before';\n",
    ],
  ]),
  ...of('lib/lease/lock-id.ts', [
    ['an id that a snapshot shares', 'randomUUID({ disableEntropyCache: true })', 'randomUUID()'],
  ]),
];

const lease = of('lib/lease/lease.ts', [
  ['a close that waits for no release', "if (state !== 'released') leases.delete(this);", 'leases.delete(this);'],
  ['the deadline of a renewal from the answer', 'this.#believe(since, forMs', 'this.#believe(instant(clock), forMs'],
  ['no timer for the deadline', '    this.#watchDeadline();\n    const capped', '    const capped'],
  [
    'isHeld() asks no clock',
    "if (this.#state === 'held' && this.#leftMs() <= 0) this.#lose('expired');\n    return",
    'return',
  ],
  [
    'the safety left out of the belief',
    'serverClock.untilMs(sent, until, behindMs) - this.#plan.safetyMs);',
    'serverClock.untilMs(sent, until, behindMs));',
  ],
  [
    'a renewal that is out, not stopped by the release',
    "    this.#renewing?.cancel.abort(this.#lostError('released'));\n",
    '',
  ],
  [
    'the heartbeat not stopped by the release',
    '    clock.clearTimeout(this.#deadlineTimer);\n    clock.clearTimeout(this.#heartbeatTimer);\n    this.#renewing',
    '    clock.clearTimeout(this.#deadlineTimer);\n    this.#renewing',
  ],
  [
    'a renewal that does not ask what is left',
    'withinMs: this.#leftMs(), since, signal',
    'withinMs: Number.POSITIVE_INFINITY, since, signal',
  ],
  ['a slow answer that takes away what was believed', 'if (forMs - agoMs > this.#leftMs()) {', 'if (true) {'],
  ['a renewal that failed, not tried again', '    this.#scheduleHeartbeat(backOffMs * (0.5 + Math.random()));\n', ''],
  [
    'a refused renewal, taken for granted',
    'if (!applied && record?.lockId !== this.#lockId) return this.#lose(reasonOf(record));',
    '',
  ],
  [
    'lost without an abort',
    "    this.#report({ type: 'lost', reason, error, heldMs: this.#heldMs() });\n    this.#lost.abort(error);",
    "    this.#report({ type: 'lost', reason, error, heldMs: this.#heldMs() });",
  ],
  [
    'renewed beyond its cap',
    '    if (capped) {\n      clock.clearTimeout(this.#heartbeatTimer);\n      return;\n    }\n',
    '    if (capped) clock.clearTimeout(this.#heartbeatTimer);\n',
  ],
  [
    'released, and believed until the answer',
    "      this.#end('released');\n      return this.#releaseEnded(options);",
    '      return this.#releaseEnded(options);',
  ],
  [
    'done, though lost',
    'await this.#sendRelease(undefined, options)',
    'await this.#sendRelease(this.#plan.once, options)',
  ],
  ['closed without an abort', "      this.#lost.abort(this.#lostError('closed'));\n", ''],
  [
    'a renewal refused for its time, not written anew',
    '      if (isMisdated(error) && !isSecond) return this.#renew(handOffMs, signal, true);\n',
    '',
  ],
  [
    'deleted by TTL by a clock that was set back',
    'Math.max(serverClock.now(key), this.#until)',
    'serverClock.now(key)',
  ],
  [
    'a release that outlasts the invocation',
    '{ requestTimeoutMs, withinMs });\n  }\n\n  /** Invariant 7: the one',
    '{ requestTimeoutMs });\n  }\n\n  /** Invariant 7: the one',
  ],
  [
    'a release that leaves no time to try in',
    'leavingOf(remainingMs, RESPONSE_MS) ||',
    '(remainingMs === undefined ? 0 : Number(remainingMs()) - RESPONSE_MS) ||',
  ],
  ['a release that rejects', 'error = cause as LockStoreError;', 'throw cause;'],
  [
    'a release that came twice, told as a loss',
    ' || isDue || opened === this.acquiredAt + Math.max(1, this.#plan.holdAtLeastMs)',
    '',
  ],
  [
    "an operator's release, taken for ours",
    'opened === this.acquiredAt + Math.max(1, this.#plan.holdAtLeastMs)',
    'true',
  ],
  [
    'a done release that came twice around a release of another, told as a loss',
    'return (attempts > 1 || isDue) && this',
    'return attempts > 1 && this',
  ],
  ['its own token by name, not done', ' || (options.done !== undefined && options.done === this.#plan.once)', ''],
  [
    'a release that came twice around a takeover, told as a loss',
    '? record.expiresAt : record.previousExpiresAt;',
    '? record.expiresAt : undefined;',
  ],
  [
    "an operator's release, taken for our done one",
    'if (isDue && !isDone(doneToken, record?.doneToken)) return false;',
    '',
  ],
  [
    'a token that the work released as not done, taken for done',
    'if (once !== undefined && !this.#releasedAsDone) {',
    'if (false) {',
  ],
]);

const callbacks = [
  ...of('lib/lease/callback.ts', [
    ['what a callback rejects with, unheeded', '  Promise.resolve(value).then(undefined, failed);\n', ''],
    [
      'thenables that are no promises, unheeded',
      'Promise.resolve(value).then',
      'if (value instanceof Promise) value.then',
    ],
  ]),
  ...of('lib/lease/options.ts', [
    ["an async function's promise for a number, unheeded", '  heed(ms);\n  throw', '  throw'],
    ["an async function's promise for a number, unheeded at a release", '    heed(ms);\n', ''],
  ]),
  ...of('lib/tasks/run-limit.ts', [
    [
      'a callback that fails, and the run goes on',
      '    this.failure ??= { error };\n    this.end();',
      '    this.end();',
    ],
    ['a remainingMs that throws in a timer', '      this.fail(error);\n      return -1;', '      throw error;'],
  ]),
  ...of('lib/tasks/run-tasks.ts', [
    ['as many runners as are asked for', 'Array.isArray(tasks) ? tasks.length : MOST_IN_HAND', 'Infinity'],
  ]),
];

const tasks = [
  ...of('lib/tasks/unsettled.ts', [
    [
      'a busy task that opens by another clock than the client has',
      'open.opensAt = this.#plan.clock.monotonic()',
      'open.opensAt = performance.now()',
    ],
    [
      'a mark over a task that is not known to be done',
      "if (outcome !== 'done' && outcome !== 'alreadyDone') block",
      "if (outcome === 'failed') block",
    ],
  ]),
  ...of('lib/tasks/options.ts', [
    ['a misspelled option of runTasks, taken for none', "  checkNames('runTasks', options, OPTIONS);\n", ''],
  ]),
  ...of('lib/tasks/run-tasks.ts', [
    ['a task as long as the last one, begun too late', '    this.#limit.took(clock.monotonic() - started);\n', ''],
    ["one item of somebody else's ends the run", 'error instanceof LockStoreError && error.foreign', 'false'],
    ['a release that failed, taken for done', "if (end === 'unknown' && once !== undefined) {", 'if (false) {'],
    ['a lease that was handed off, taken for done', "return end === 'handedOff' ? 'busy' : 'done';", "return 'done';"],
  ]),
];

const middleware = [
  ...of('middleware/lock-plugin.ts', [
    ['a plugin option misspelled, and ignored', "  checkNames('lockPlugin()', plugin, names);\n", ''],
    ['no abort before the early time-out returns', '      if (request) timeOut(request);\n', ''],
    ["another request's response taken for the handler's", 'holdingsOf(request).hasEnded) request', 'false) request'],
    ["another error than Middy's own at its time-out", "package: '@middy/core'", "package: 'leasehold'"],
    ['not released when a later middleware returns early', '        await requestEnded(request);\n', ''],
    [
      'a failed request that Middy tells nobody of',
      '      await releaseAll(request);\n      holdingsOf(request)',
      '      holdingsOf(request)',
    ],
    ['a body forgotten that is still produced', 'holdingsOf(request).handled = request.response', 'void request'],
  ]),
  ...of('middleware/hooks.ts', [
    ['not released when the handler throws', '  await release(held, request);\n', ''],
    ['an unawaited response', 'const response = await request.response;', 'const response = request.response;'],
    [
      'a token done over a record that failed in locks.using',
      'held.succeed(response, await failedIn(request), holdingsOf',
      'held.succeed(response, new Set(), holdingsOf',
    ],
    [
      'messages deleted behind a lock that is busy',
      'for (const batch of batchesOf(request)) answer = await batch.succeed(answer, new Set());',
      '{}',
    ],
    ["released after Middy's own time-out", "  if (isEarlyTimeout(request.error)) held.abandon('timedOut');\n", ''],
    [
      'records missing that the handler was not given',
      "  showRecords(guard, request, 'records');\n}\n\n/** Ends what the guard took, after a failure. */",
      '}\n\n/** Ends what the guard took, after a failure. */',
    ],
  ]),
  ...of('middleware/wrap.ts', [
    ['released while a stream writes on', "held.abandon('abandoned')", 'await held.release()'],
    ['ended before the handler has failed', '      await onError(guard, request);\n', ''],
    ['an error that an early time-out does not show', '      request.error = error;\n', ''],
  ]),
  ...of('middleware/remaining.ts', [
    ['a release that outlasts an invocation beside others', 'return releaseMsOf(this.#ask);', 'return 1e9;'],
    ['a wait that a long time ends at once', 'ms > LONGEST_MS ? undefined : ', ''],
  ]),
  ...of('middleware/batch-records.ts', [
    ['a record overtaken in its second group', 'for (const group of groups) entry.groups.add(group);', ''],
  ]),
  ...of('middleware/key-lock.ts', [
    ['a part whose token is not done', '(done === this.#last || (done.token ?? false))', '(done === this.#last)'],
    ['a record worked on again that was done', 'if (isDone(entry.token, this.lease.doneToken))', 'if (false)'],
  ]),
  ...of('middleware/turns.ts', [
    [
      'work that begins while others are waited for',
      '.every((turn) => turns.has(turn))',
      '.every(() => turns.size > 0)',
    ],
    ['work that waits for itself', 'lanes.some((lane) => outer.includes(lane))', 'false'],
    ['a wait for work without an end', '(!(await goesOn(Promise.allSettled(turns))))', '(false)'],
  ]),
  ...of('middleware/record-batch.ts', [
    [
      'a second work that fails what succeeded',
      'if (isOpen(entry)) this.#batch.stopGroups(entry, error);',
      'this.#batch.stopGroups(entry, error);',
    ],
    ['work begun while leases are being released', 'for (const lock of this.#locks.values()) lock.ended = true;', ''],
    ['a record that overtakes one that failed in using', '    this.#batch.holdBack(isOpen);\n', ''],
    ['done, though it failed under another lock', ' || failed.has(messageId)', ''],
    ['an acquire that outlasts the invocation', '        signal,\n        data', '        data'],
    [
      'a lease released by the handler, without a word',
      'warnIfReleased(lease);\n    const hasFailed',
      'void lease;\n    const hasFailed',
    ],
    ['work that nobody waits for ends the process', '    heed(using);\n', ''],
    [
      'work that nobody stops when the time is up',
      "if (!isInTime) for (const lock of this.#pending) if (!lock.ended) this.#abandonLock(lock, 'abandoned');",
      '',
    ],
    ['messages deleted that a later middleware kept from the handler', 'if (unworked.length === 0) return;', 'return;'],
  ]),
  ...of('middleware/request.ts', [
    [
      "released while another handler's handler that timed out runs",
      '...(underWay.get(request.context as object) ?? [])',
      '',
    ],
  ]),
  ...of('middleware/body.ts', [
    ['released while a Transform is written to', " || 'write' in body ||", ' ||'],
    ['released while somebody pushes on', ' || body._destroy === Readable.prototype._destroy', ''],
    [
      'released while a web stream inside of a Node stream works on',
      'return String(body._destroy) !== String(Readable.fromWeb(new ReadableStream() as never)._destroy);',
      'return true;',
    ],
  ]),
  ...of('middleware/held-lease.ts', [
    ['released while a handler that timed out runs', '    this.#abandoned = true;\n', ''],
    ["released after Middy's handler answered its time-out", '    if (this.#abandoned) return response;\n', ''],
    ['released though it was abandoned, and had expired', '    if (this.#abandoned) return;\n', ''],
    [
      'released before the last byte',
      'const body = bodyIn(response);\n',
      'const body = undefined as Body | undefined;\n',
    ],
    ['done, though the reader has not taken the last part', 'highWaterMark: 0,', 'highWaterMark: 16,'],
    [
      'a token done over a batch of which a record failed',
      'failed.size === 0 && !this.#hasFailures(response)',
      'failed.size === 0',
    ],
    [
      'released while a body is produced that a middleware dropped',
      'if (dropped && !(dropped as Readable).readableEnded) await',
      'if (false) await',
    ],
    ['not done, though another middleware has read the whole body', ' && !(dropped as Readable).readableEnded', ''],
    ['a lost lease, no error', "if (this.#onLost === 'throw') this.lease.signal.throwIfAborted();", ''],
    ['released while the body works on', '(isEnded || isTold) && (await this.#remaining.settles(closed))', 'isTold'],
    ['released while a body works on that failed by itself', '(source.closed && isTold)', 'source.closed'],
    ['a body that fails as it closes ends the process', "      source.on('error', () => {});\n", ''],
    ['done, though the stream broke', 'return await this.#end();', 'return await this.#end(true);'],
    ['released under another lock, while a Transform is written to', 'isOver && !(untold in source)', 'isOver'],
    ['a release of its own, without a word', '    warnIfReleased(this.lease);\n', ''],
    ['a body destroyed that a middleware compresses', ' || this.#sent.readableFlowing !== null', ''],
    ['a body that nobody listens to', "    sent.on('error', () => {});\n", ''],
    ['a body that goes on after the request', '      this.#sent.destroy();\n', ''],
  ]),
  ...of('middleware/configure.ts', [
    ['a rejected key ends the process', '  heed(value);\n', ''],
    ['a table named that nobody uses', 'if (tableName !== undefined || client !== undefined) {', 'if (false) {'],
    ['a listener that nobody calls', '  if (onEvent === undefined) return locks;', '  if (locks) return locks;'],
    ['a client that sends nothing', "client !== undefined && typeof client?.send !== 'function'", 'false'],
  ]),
  ...of('middleware/lock-records.ts', [
    ['an option of records misspelled, and ignored', '  checkNames(what, options, names);\n', ''],
  ]),
  ...of('middleware/lock-guard.ts', [
    ['an option misspelled, and ignored', '  checkNames(what, options, names);\n', ''],
    ['messages deleted that a lock skips', "(isBusy && respond === 'skip') || ", ''],
    ['messages deleted that a lock inside of their own skips', ' || hasRecordLocks(context)', ''],
    ['a context that cannot be written keeps the lease', '      await held.release();\n', ''],
    [
      'a lease that hides another one',
      'if (isHeldLease((context as Record<string, unknown>)[contextKey])) {',
      'if (false) {',
    ],
  ]),
  ...of('middleware/invocation.ts', [
    [
      'a remaining time that rejects ends the process',
      'Math.floor(remainingOf({ remainingMs }))',
      'Math.floor(remainingMs())',
    ],
    ['taken around a durable execution', "if ('lambdaContext' in context && 'step' in context)", 'if (false)'],
    [
      'beyond the invocation',
      'remainingMs: process.env.AWS_LAMBDA_MAX_CONCURRENCY ? undefined : remainingMs,',
      'remainingMs: undefined,',
    ],
  ]),
];

const guard = of('lib/dynamodb/guarded-write.ts', [
  ['a write without the guard', '[check, ...transactItems]', '[...transactItems]'],
  ['a refused guard that ends no belief', "        lease.abandon('takenOver');\n", ''],
  ['a write that is not held', '    lease.assertHeld();\n', ''],
]);

export const mutants = [
  ...dynamodb,
  ...memory,
  ...clocks,
  ...acquisition,
  ...client,
  ...lease,
  ...callbacks,
  ...tasks,
  ...middleware,
  ...guard,
];
