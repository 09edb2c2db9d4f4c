/*
 * The lease protocol, for spin to check in every interleaving: npm run test:model.
 *
 * A few owners compete for one key.
 *
 * Messages. A request that was sent stays on its way for ever. It arrives never, once or again and again, at any time and
 * in any order. Each of its answers may be lost or late. So a lost, a late and a duplicated message need no steps of their
 * own. A crash is a release that never arrives.
 *
 * Time. The server's clock counts TICKS ticks from START. A tick may be of any length. A release adds 1 ms, the smallest
 * step of a clock in the protocol. Here that is a whole tick, which is the harder case.
 *
 * Clocks. The clocks of two owners differ by up to SKEW ticks, less than SAFETY.
 *   AHEAD, BEHIND    WRONG of the clocks are off by more, until the Date of an answer tells (invariant 13).
 *   JUDGED           A judge read tells before an owner writes a moment by such a clock. Without JUDGED, the clocks are
 *                    those of Lambda: right as a rule, and judged by the first answer.
 *   SETS             A clock is set later, too.
 *   SLOW             A slow answer does not tell of a clock that is behind.
 *   RELAY            An owner cannot tell which clock is right: its own, or the clock of the relay that writes the Date.
 *
 * Grants. An owner knows its grant from the record in the answer. Meanwhile another wrong clock may have taken the grant
 * over and given it back. Then the record no longer tells what the grant took over.
 *
 * Each step has the name of its counterpart in the code:
 *   storeAcquire to storeRepair            the function of that name in lib/record/transitions.ts
 *   storeCommit                            commit in lib/record/transitions.ts
 *   storeGuardedWrite                      lib/dynamodb/guarded-write.ts
 *   Network                                lib/lease/send.ts, and everything between it and the store
 *   Client: tryAcquire, resume, discard    lib/lease/attempt.ts, acquisition.ts, resume.ts
 *   Client: giveBack                       lib/lease/give-back.ts
 *   Client: renew                          lib/lease/heartbeat.ts
 *   Client: release, handOff               lib/lease/release.ts, lease.ts
 *   Client: commit                         lib/lease/commit.ts
 *   Operator                               LockClient.forceRelease, LockClient.repair
 *   Belief and deadline                    lib/lease/term.ts
 *   invariant(n, ...)                      invariant n of docs/protocol.md
 *
 * PROGRESS is liveness in a form that needs no fairness. It holds in every state:
 *   - the first owner whose request for a free lock arrives is granted the lock;
 *   - a lock that nobody renews is free after a lease. It is free later if a wrong clock's grant was neither believed nor
 *     given back: its answer was lost, or the record did not tell what the grant took over;
 *   - no owner is granted a lock in which another owner believes.
 *
 * Not in the model: waiting (its reads decide nothing), heartbeats as such (a renewal may be sent at any time), and freezes
 * (an owner that does nothing for long). The end of an invocation is a shorter lease (CAP). Coalescing (ask, turn, a release
 * as served; invariant 15) has an explorer of its own: coalesce-model.ts.
 *
 * mutant(X) plants the fault X: a clause of a condition is dropped, a write sets something else, or an owner misreads an
 * answer. model.test.ts has the bounds of each configuration, and the configuration that finds each fault.
 */

#ifndef OWNERS
#define OWNERS 2
#endif
#ifndef ATTEMPTS        /* of each owner */
#define ATTEMPTS 2
#endif
#ifndef BUDGET          /* attempts of all owners together */
#define BUDGET IDS
#endif
#ifndef TICKS
#define TICKS 5
#endif
#ifndef LEASE
#define LEASE 3
#endif
#ifndef SAFETY
#define SAFETY 2
#endif
#ifndef RENEWALS        /* of each lease */
#define RENEWALS 0
#endif
#ifndef HOLD            /* the holdAtLeastMs of a lease */
#define HOLD 0
#endif
#ifndef CAP             /* 1: a lease may be shorter, SAFETY ticks, as at the end of an invocation */
#define CAP 0
#endif
#ifndef ONCE            /* once tokens 1 to ONCE */
#define ONCE 0
#endif
#ifndef RETENTION       /* the time from a record's expiry to its deletion by TTL; no request is on its way for longer */
#define RETENTION 0
#endif
#ifndef FORCE           /* 1: an operator may force a release; 2: also immediately */
#define FORCE 0
#endif
#ifndef REPAIR          /* 1: an operator may repair a lock that nobody holds */
#define REPAIR 0
#endif
#ifndef COMMIT          /* the commits of each lease, 2 at the most */
#define COMMIT 0
#endif
#ifndef AHEAD           /* the ticks by which a wrong clock may be ahead; BEHIND: by which it may be behind */
#define AHEAD 0
#endif
#ifndef BEHIND
#define BEHIND 0
#endif
#ifndef WRONG           /* the number of clocks that may be wrong */
#define WRONG 1
#endif
#ifndef JUDGED          /* 1: a read judges each clock before its owner writes a moment */
#define JUDGED 0
#endif
#ifndef SETS            /* the number of times that a clock is set to a wrong time, at any step of its owner */
#define SETS 0
#endif
#ifndef SLOW            /* 1: an answer tells of a clock that is behind only by more than the time that the answer took */
#define SLOW 0
#endif
#ifndef RELAY           /* the ticks by which an owner's clock and the Date that it sees differ; one of the two is right */
#define RELAY 0
#endif
#ifndef STEPPED         /* 1: a clock was stepped during a request, so the answer can judge the grant alone. The code also
                           gives back a grant that passes. To believe in the grant is the harder case. */
#define STEPPED 0
#endif
/*
 * Also: GUARD, guarded writes. PART, a release that finishes an earlier token. RESUME, a hand-off. TELL, the answer to a
 * release. RESEND, an acquire that is sent again with another :now.
 */

#ifndef MUTANT
#define MUTANT 0
#endif
#define mutant(m) (MUTANT == (m))
#define ACQUIRE_NO_RECORD 101
#define ACQUIRE_EXPIRED 102
#define ACQUIRE_NOT_ME 103
#define ACQUIRE_NOT_RELEASED 104
#define ACQUIRE_OR_MINE 105
#define ONCE_NO_DONE_TOKEN 106
#define ONCE_GREATER 107
#define RENEW_MINE 108
#define RENEW_GROWS 109
#define RENEW_WITHOUT_TTL 110
#define RELEASE_MINE 111
#define RELEASE_TO_ZERO 112
#define RELEASE_TO_ACQUIRED 113
#define RELEASE_KEEPS_LOCK_ID 114
#define RELEASE_UNSIGNED 115
#define RELEASE_WITHOUT_DONE 116
#define RELEASE_WITHOUT_HOLD 117
#define SIGNED_MEANS_DONE 118
#define GIVE_BACK_MINE 119
#define GIVE_BACK_TOKEN 120
#define GIVE_BACK_UNSIGNED 121
#define GIVE_BACK_BY_RELEASE 122
#define GIVE_BACK_KEEPS_EXPIRY 123
#define GIVE_BACK_TO_ACQUIRED 124
#define GIVE_BACK_KEEPS_ACQUIRED 125
#define GIVE_BACK_ACQUIRED_NOW 126
#define RESUME_HANDED 127
#define RESUME_KEEPS_LOCK_ID 128
#define RESUME_KEEPS_TOKEN 129
#define RESUME_MOVES_ACQUIRED 130
#define HAND_OFF_BELIEVED 131
#define FORCE_SEEN 132
#define FORCE_OPENS 133
#define FORCE_KEEPS_LOCK_ID 134
#define FORCE_UNSIGNED 135
#define GUARD_MINE 136
#define TOKEN_KEPT 137
#define TOKEN_FROM_ZERO 138
#define TTL_AT_EXPIRY 139
#define DEADLINE_FROM_ANSWER 140
#define DEADLINE_IS_EXPIRY 141
#define LATE_GRANT_BELIEVED 142
#define BELIEF_UNTIL_RELEASED 143
#define REFUSAL_IS_LOSS 144
#define REFUSAL_IS_BUSY 145
#define EARLY_GRANT_BELIEVED 146
#define BEHIND_BELIEVED 147
#define AHEAD_BELIEVED 148
#define ONE_LOCK_ID 149
#define SKEW_IS_SAFETY 150
#define GIVE_BACK_UNKNOWN 151
#define GIVE_BACK_AS_FIRST 152
#define RESUME_INTO_PAST 153
#define WRITES_UNJUDGED 154
#define GIVE_BACK_BY_CLOCK 155
#define SLOW_BELIEVED 156
#define RELAY_BELIEVED 157
#define PART_UNASKED 158
#define FORCE_OPENS_OTHERS 159
#define REPAIR_HELD 160
#define REPAIR_UNSEEN 161
#define REPAIR_BEFORE_ACQUIRED 162
#define ACQUIRE_WITHOUT_HOLD 163
#define RESUME_WITHOUT_HOLD 164
#define DISCARD_WITH_HOLD 165
#define DISCARD_OPENS_RESUMED 166
#define COMMIT_MINE 167
#define COMMIT_NUMBER 168
#define COMMIT_REFUSAL_IS_DONE 169

#define SKEW (MUTANT == SKEW_IS_SAFETY -> SAFETY : SAFETY - 1)
#define IDS (OWNERS * ATTEMPTS)
#define START (1 + BEHIND + RELAY)
#define CLOCK_WRONG (AHEAD || BEHIND)
#define max(x, y) ((x) > (y) -> (x) : (y))
#define min(x, y) ((x) < (y) -> (x) : (y))
#define bit(n) (1 << (n))

byte now = START;

/* LockRecord in lib/record/record.ts. 0 stands for a missing attribute. */
typedef Record {
  bit exists;
  byte lockId, fencingToken, expiresAt, acquiredAt, releasedBy, doneToken, ttl;
  bit previous;             /* 1: the record tells what the grant took over; with an expiry of 0 there was no record */
  byte previousLockId, previousExpiresAt, previousAcquiredAt
#if COMMIT
  ; byte commits            /* record.committed.number */
#endif
};
Record record;

/* The requests that were sent under one lockId. A lockId is the number of an attempt, from 1. */
typedef Sent {
  byte acquire;             /* acquire and resume: :now */
  byte again;               /* the same acquire, sent again with another :now (RESEND) */
  byte once;
  short renew;              /* a set of renewals: bit n stands for :until = START + LEASE + n */
  byte resume;              /* the lockId that was handed off */
  byte done;                /* release: the finished token, at most the grant's own; 0: none */
  byte toldDone;            /* the finished token that the grant showed */
  bit hold;                 /* the lease has a holdAtLeastMs */
  bit capped;
  bit believed;             /* the owner has believed in the grant: its release keeps the lock closed for HOLD */
  bit release, giveBack, giveBackAgain, force, immediately, guardedWrite;
  /* The record in the answer told this of the grant. giveBack carries it. */
  bit told;
  byte token, previousLockId, previousExpiresAt, previousAcquiredAt, givenBackAt;
  bit wrongClock;           /* a clock that was off by more than SKEW sent the requests */
  byte late                 /* the ticks from :now to the latest moment of the sending, from which the lease counts (RELAY) */
#if COMMIT
  ; byte calls;             /* the calls to commit so far, each with data of its own */
  byte number[2];           /* the number that a call's request has */
  byte known;               /* the number of the last commit that the owner knows of */
  byte grantedToken;        /* for the checks: the token of the grant, and the calls that were applied */
  byte committed
#endif
};
Sent sent[IDS + 1];
byte handed;                /* the handle of the lease that was handed off */

/* The request to repair: the record as the operator saw it, and the expiry to write. */
byte repairToken, repairExpiry, repairOpens;

/* The knowledge of an owner: lib/lease/lease.ts, heartbeat.ts, term.ts. */
mtype = { idle, acquiring, held, releasing, releasingAgain };
mtype = { none, granted, tooEarly, refused, kept, lost, applied, signed, proven };
mtype state[OWNERS] = idle;
mtype answer[OWNERS] = none;
byte answerUntil[OWNERS], attempt[OWNERS], renewals[OWNERS], deadline[OWNERS];
short offset[OWNERS];       /* the offset of the owner's clock from the server's */
short relayed;              /* owner 0: the offset of the wrong clock, its own or the relay's, from the other (RELAY) */
byte date[OWNERS];          /* the moment at which the server judged the answered request (SLOW) */
byte sets;

#define clock(o) (now + offset[o])
#define wrong(o) (offset[o] < 0 || offset[o] > SKEW)
#define judged(o) (!JUDGED || !wrong(o) || mutant(WRITES_UNJUDGED))
#define mayAttempt(o) (state[o] == idle && attempt[o] < ATTEMPTS && attempts < BUDGET && judged(o))
/*
 * Whether the answer tells the owner that its clock is behind: the Date is later than the clock when the answer comes.
 */
#define tells(o) (!SLOW || offset[o] >= 0 || date[o] > clock(o))
#define me(o) ((o) * ATTEMPTS + attempt[o])
#define ownerOf(a) (((a) - 1) / ATTEMPTS)
#define current(a) (me(ownerOf(a)) == (a))
#if MUTANT == ONE_LOCK_ID
#define id(a) (ownerOf(a) * ATTEMPTS + 1)
#else
#define id(a) (a)
#endif
#define believes(o) (now <= deadline[o] && (state[o] == held || \
  (mutant(BELIEF_UNTIL_RELEASED) && (state[o] == releasing || state[o] == releasingAgain))))

/* The checks: the invariants by their numbers in docs/protocol.md, and seven other properties. */
#define invariant(n, holds) assert((holds) || (n) == 0)
#define GUARDED_WRITE 201   /* a guarded write commits only if no other owner was granted the lock since */
#define ONCE_AT_MOST 202    /* no grant for a token that is not greater than the finished token */
#define HOLD_AT_LEAST 203   /* no grant before the end of the holdAtLeastMs of a lease that was believed, however it ended */
#define PROGRESS 204        /* a free lock is granted to the first asker; no lock is closed for longer than a lease */
#define TOLD 205            /* an owner is told that its release was applied if, and only if, that is so */
#define DONE_GROWS 206      /* the finished token never shrinks */
#define COMMITTED 207       /* an owner is told that a commit is done only if the commit was applied */

/* The checker's memory. A set of lockIds is a number of bits. */
short everGranted, everBelieved;
short superseded;           /* another owner was granted the lock later, and believed */
short forgotten;            /* grants that were given back, and that releasedBy no longer names */
short opened;               /* grants that an operator ended immediately: invariant 1 is waived for them */
short repaired;             /* releases after which an operator repaired the lock */
bit discarded;              /* 1: the grant of a wrong clock was released before its owner saw the grant */
byte lastEnded;             /* the lockId of the release that was the record's last change; 0: the last change was another */
byte highestToken, finished, closedUntil, attempts;

#if COMMIT
/* The last commit that was applied: its lockId, and the number of the call. */
byte lastCommitBy, lastCommitCall;
byte outstanding;           /* the lockId of the grant that is outstanding, by the history of the grants */
/* An owner has a call out, and the answer to it with the number in the record. */
bit committing[OWNERS];
mtype commitAnswer[OWNERS] = none;
byte commitSeen[OWNERS];
#endif

mtype result = none;        /* the result of the present request */
byte resultUntil;
hidden byte i;

inline onlyBeliever(a) {
  i = 0;
  do
  :: i < OWNERS -> invariant(1, me(i) == a || !believes(i) || opened & (bit(me(i)) | bit(a))); i++
  :: else -> break
  od
}

inline onGrant(a) {
  invariant(2, record.fencingToken > highestToken);
  highestToken = max(highestToken, record.fencingToken);
  /*
   * releasedBy names one grant. The next release forgets a grant that was given back, which may then be granted again.
   */
  invariant(3, !(everGranted & bit(a)) || forgotten & bit(a));
  everGranted = everGranted | bit(a);
#if COMMIT
  sent[a].grantedToken = record.fencingToken;
  outstanding = a;
#endif
  lastEnded = 0;
  if
  :: sent[a].wrongClock
  :: else -> onlyBeliever(a)
  fi
}

/* The expiry that a request writes (Term.until) is no moment of belief: holdAtLeastMs keeps the lock closed for longer. */
#define leaseOf(a) (sent[a].capped -> SAFETY : LEASE)
#define written(a, until, acquired) (sent[a].hold -> max(until, (acquired) + HOLD) : (until))
/* A release keeps the lock closed for HOLD. A grant that nobody believed in is discarded, and opens at once. */
#define releasesToHold(a) (sent[a].hold && (sent[a].believed || mutant(DISCARD_WITH_HOLD)))

/* The store: lib/record/transitions.ts, which every store keeps. */

#define acquirable(me, t, token) ( \
    ( \
      (!mutant(ACQUIRE_NO_RECORD) && !record.exists) || \
      (record.exists \
        && (mutant(ACQUIRE_EXPIRED) || record.expiresAt <= (t)) \
        && (mutant(ACQUIRE_NOT_ME) || record.lockId != (me)) \
        && (mutant(ACQUIRE_NOT_RELEASED) || record.releasedBy != (me))) || \
      (mutant(ACQUIRE_OR_MINE) && record.lockId == (me)) \
    ) && ( \
      (token) == 0 || \
      (!mutant(ONCE_NO_DONE_TOKEN) && record.doneToken == 0) || \
      (record.doneToken != 0 && (mutant(ONCE_GREATER) || record.doneToken < (token))) \
    ))

inline writeTtl(expiry) {
#if RETENTION
  record.ttl = expiry + (mutant(TTL_AT_EXPIRY) -> 0 : RETENTION)
#else
  skip
#endif
}

inline forgetPrevious() {
  record.previous = 0;
  record.previousLockId = 0;
  record.previousExpiresAt = 0;
  record.previousAcquiredAt = 0
}

inline sign(a, omitted) {
#if CLOCK_WRONG
  if
  :: record.releasedBy && record.releasedBy != id(a) && sent[record.releasedBy].giveBack ->
    forgotten = forgotten | bit(record.releasedBy)
  :: else
  fi;
#endif
  record.releasedBy = (mutant(omitted) -> record.releasedBy : id(a))
}

inline storeAcquire(a, t) {
  if
  :: acquirable(id(a), t, sent[a].once) ->
    invariant(ONCE_AT_MOST, sent[a].once == 0 || sent[a].once > finished);
    invariant(HOLD_AT_LEAST, t >= closedUntil || opened);
#if CLOCK_WRONG
    record.previous = 1;
    record.previousLockId = record.lockId;
    record.previousExpiresAt = record.expiresAt;
    record.previousAcquiredAt = record.acquiredAt;
#endif
    if
    :: record.exists
    :: else -> record.fencingToken = (mutant(TOKEN_FROM_ZERO) -> 0 : t)
    fi;
    record.fencingToken = record.fencingToken + (mutant(TOKEN_KEPT) -> 0 : 1);
    onGrant(a);
    record.exists = 1;
    record.lockId = id(a);
    record.acquiredAt = t;
    i = t + leaseOf(a) + sent[a].late;
    record.expiresAt = (mutant(ACQUIRE_WITHOUT_HOLD) -> i : written(a, i, t));
    writeTtl(record.expiresAt);
#ifdef PART
    sent[a].toldDone = record.doneToken;
#endif
    result = granted
  :: else -> result = refused
  fi;
  /* Granted or refused, one question decides: is the lockId in the record mine? */
  if
  :: mutant(REFUSAL_IS_BUSY)
  :: else -> result = (record.lockId == id(a) -> granted : refused)
  fi;
  invariant(3, result == granted || record.lockId != id(a));
#if COMMIT
  showCommits(a);
#endif
  /* serverClock.tooEarly: by the answer's Date, which is too coarse to show less than SKEW. */
  if
  :: result == granted && record.previousExpiresAt > now + SKEW -> result = tooEarly
  :: else
  fi;
  printf("%d: acquire of %d, sent at %d: %e. Record: %d until %d\n", now, a, t, result, record.lockId, record.expiresAt)
}

inline storeRenew(a, until) {
  if
  :: record.exists && (mutant(RENEW_MINE) || record.lockId == id(a)) &&
     (mutant(RENEW_GROWS) || record.expiresAt <= written(a, until, record.acquiredAt)) ->
    invariant(3, lastEnded != a);
    record.expiresAt = written(a, until, record.acquiredAt);
    if
    :: mutant(RENEW_WITHOUT_TTL)
    :: else -> writeTtl(record.expiresAt)
    fi;
    result = kept
  :: else ->
    result = (record.lockId == id(a) && !mutant(REFUSAL_IS_LOSS) -> kept : lost);
    /* A believer is told of a loss only after another owner's grant, or after a release. */
    invariant(3, result == kept || !current(a) || !believes(ownerOf(a)) ||
      (record.lockId && record.lockId != id(a)) || lastEnded || discarded)
  fi;
  resultUntil = (until < record.expiresAt -> until : record.expiresAt);
  printf("%d: renewal of %d to %d: %e. Record: %d until %d\n", now, a, until, result, record.lockId, record.expiresAt)
}

inline storeRelease(a) {
  if
  :: record.exists && (mutant(RELEASE_MINE) || record.lockId == id(a)) ->
    record.lockId = (mutant(RELEASE_KEEPS_LOCK_ID) -> record.lockId : 0);
    forgetPrevious();
    sign(a, RELEASE_UNSIGNED);
    lastEnded = a;
    discarded = discarded || sent[a].wrongClock;
    i = (releasesToHold(a) && !mutant(RELEASE_WITHOUT_HOLD) -> HOLD : (mutant(RELEASE_TO_ACQUIRED) -> 0 : 1));
    record.expiresAt = (mutant(RELEASE_TO_ZERO) -> 0 : record.acquiredAt + i);
    /*
     * A wrong clock that was not judged may get a grant and give it up unseen. Then the lock is closed until that
     * clock's time.
     */
    invariant(PROGRESS, record.expiresAt <= now + SKEW + ATTEMPTS + (sent[a].believed && sent[a].hold -> HOLD : 0) ||
      (!JUDGED && sent[a].wrongClock && (STEPPED || !(everBelieved & bit(a)))));
    i = max(record.expiresAt, now);
    writeTtl(i);
    if
    :: sent[a].done ->
      finished = max(finished, sent[a].done);
      record.doneToken = (mutant(RELEASE_WITHOUT_DONE) -> record.doneToken : sent[a].done);
      invariant(DONE_GROWS, record.doneToken >= finished || mutant(RELEASE_WITHOUT_DONE))
    :: else
    fi;
    result = applied
  :: else ->
    result = (record.releasedBy == id(a) -> signed : lost);
    invariant(TOLD, result == signed || lastEnded != a || !record.exists || sent[a].force || sent[a].immediately ||
      repaired & bit(a));
    /*
     * The record proves an earlier delivery of this release, however often the owner sent the release. Either the record
     * has the release's token. Or the release has no token, no grant came since, and the expiry is that of this release.
     */
    i = record.acquiredAt + (releasesToHold(a) -> HOLD : 1);
    result = (result == signed && (sent[a].done || (!record.lockId && record.expiresAt == i)) -> proven : result);
    invariant(TOLD, result == proven || lastEnded != a || !record.exists || record.lockId || sent[a].force ||
      sent[a].immediately || repaired & bit(a));
    /* A force release writes the same releasedBy. So a token is done only if the record has the token. */
    result = (sent[a].done && record.doneToken < sent[a].done && !mutant(SIGNED_MEANS_DONE) -> none : result)
  fi;
  printf("%d: release of %d: %e. Record: %d until %d\n", now, a, result, record.lockId, record.expiresAt)
}

inline storeGiveBack(a) {
  if
  :: record.exists && (mutant(GIVE_BACK_MINE) || record.lockId == id(a)) &&
     (mutant(GIVE_BACK_TOKEN) || record.fencingToken == sent[a].token) ->
    invariant(3, !lastEnded);
    if
    :: mutant(GIVE_BACK_BY_RELEASE) ->
      record.lockId = 0;
      record.expiresAt = record.acquiredAt + 1
    :: else ->
      record.lockId = sent[a].previousLockId;
      i = (mutant(GIVE_BACK_TO_ACQUIRED) -> record.acquiredAt + 1 : sent[a].givenBackAt);
      i = (sent[a].previousExpiresAt -> sent[a].previousExpiresAt : i);
      record.expiresAt = (mutant(GIVE_BACK_KEEPS_EXPIRY) -> record.expiresAt : i);
      i = (sent[a].previousAcquiredAt && !mutant(GIVE_BACK_ACQUIRED_NOW) ->
        sent[a].previousAcquiredAt : sent[a].givenBackAt);
      record.acquiredAt = (mutant(GIVE_BACK_KEEPS_ACQUIRED) -> record.acquiredAt : i)
    fi;
    invariant(13, record.expiresAt <= max(sent[a].previousExpiresAt, now));
#if COMMIT
    outstanding = sent[a].previousLockId;
#endif
    sign(a, GIVE_BACK_UNSIGNED);
    forgetPrevious();
    result = applied
  :: else -> result = refused
  fi;
  printf("%d: giving back of %d. Record: %d until %d\n", now, a, record.lockId, record.expiresAt)
}

inline storeResume(a, t) {
  if
  :: record.exists && (mutant(RESUME_HANDED) || record.lockId == sent[a].resume) &&
     (mutant(RESUME_INTO_PAST) || record.acquiredAt < t + LEASE) ->
    record.fencingToken = record.fencingToken + (mutant(RESUME_KEEPS_TOKEN) -> 0 : 1);
    onGrant(a);
    record.lockId = (mutant(RESUME_KEEPS_LOCK_ID) -> record.lockId : id(a));
    record.expiresAt = (mutant(RESUME_WITHOUT_HOLD) -> t + LEASE : written(a, t + LEASE, record.acquiredAt));
    record.acquiredAt = (mutant(RESUME_MOVES_ACQUIRED) -> t : record.acquiredAt);
    writeTtl(record.expiresAt)
  :: else
  fi;
  i = record.lockId == id(a) || (mutant(RESUME_KEEPS_LOCK_ID) && record.lockId == sent[a].resume);
  result = (i -> granted : refused);
#if COMMIT
  showCommits(a);
#endif
  printf("%d: resumption by %d: %e. Record: %d until %d\n", now, a, result, record.lockId, record.expiresAt)
}

inline storeForceRelease(a, atOnce) {
  if
  :: record.lockId && (mutant(FORCE_SEEN) || record.lockId == id(a)) ->
    record.lockId = (mutant(FORCE_KEEPS_LOCK_ID) -> record.lockId : 0);
    forgetPrevious();
    sign(a, FORCE_UNSIGNED);
    record.expiresAt = (atOnce || mutant(FORCE_OPENS) -> record.acquiredAt + 2 : record.expiresAt);
    opened = opened | (atOnce -> bit(a) : 0);
    lastEnded = a
  /* The grant has ended, and the lock is closed still: by a forced release, or by holdAtLeastMs. */
  :: atOnce && !record.lockId && record.exists && (mutant(FORCE_OPENS_OTHERS) || record.releasedBy == id(a)) ->
    record.expiresAt = record.acquiredAt + 2;
    opened = opened | bit(a);
    closedUntil = (record.releasedBy == id(a) -> 0 : closedUntil)
  :: else
  fi;
  printf("%d: force release of %d. Record: %d until %d\n", now, a, record.lockId, record.expiresAt)
}

#if COMMIT
/* The grant in the answer shows the last commit. */
inline showCommits(a) {
  sent[a].known = (result == granted && current(a) && state[ownerOf(a)] == acquiring -> record.commits : sent[a].known)
}

inline storeCommit(a, call) {
  if
  :: record.exists && (mutant(COMMIT_MINE) || record.lockId == id(a)) &&
     (mutant(COMMIT_NUMBER) || record.commits == sent[a].number[call] - 1) ->
    invariant(14, outstanding == a && !lastEnded);
    invariant(14, !lastCommitBy || sent[lastCommitBy].grantedToken <= sent[a].grantedToken);
    invariant(14, lastCommitBy != a || lastCommitCall <= call);
    record.commits = sent[a].number[call];
    lastCommitBy = a;
    lastCommitCall = call;
    sent[a].committed = sent[a].committed | bit(call);
    result = applied
  :: else ->
    /* The record shows the commit: an earlier delivery was applied. */
    result = (record.commits == sent[a].number[call] && lastCommitBy == a && lastCommitCall == call -> applied :
      (record.lockId == id(a) -> (mutant(COMMIT_REFUSAL_IS_DONE) -> applied : kept) : lost))
  fi;
  invariant(COMMITTED, result != applied || sent[a].committed & bit(call));
  printf("%d: commit %d of %d, number %d: %e. Record: %d, %d commits\n", now, call, a, sent[a].number[call], result, record.lockId, record.commits)
}
#endif

inline storeRepair() {
  if
  :: record.exists && (mutant(REPAIR_HELD) || !record.lockId) &&
     (mutant(REPAIR_UNSEEN) || (record.fencingToken == repairToken && record.expiresAt == repairExpiry)) ->
    opened = opened | bit(record.releasedBy);
    repaired = repaired | bit(record.releasedBy);
    closedUntil = 0;
    record.fencingToken = repairToken;
    record.expiresAt = repairOpens;
    writeTtl(repairOpens)
  :: else
  fi;
  printf("%d: repair to %d. Record: %d until %d\n", now, repairOpens, record.lockId, record.expiresAt)
}

inline storeGuardedWrite(a) {
  if
  :: mutant(GUARD_MINE) || record.lockId == id(a) ->
    printf("%d: guarded write of %d\n", now, a);
    invariant(GUARDED_WRITE, !(superseded & bit(a)))
  :: else
  fi
}

/* The way to the store and back. */

#if RETENTION
#define onItsWay(t) (now < (t) + RETENTION)
#else
#define onItsWay(t) true
#endif

/* A grant that was given back and forgotten may be granted and given back again for ever. A few times are enough. */
#define mayReturn(a) (!(forgotten & bit(a)) || highestToken < START + TICKS + AHEAD + 2 * IDS)

/* The answer tells the owner of its grant. */
inline tell(a) {
  sent[a].told = record.previous;
  sent[a].token = record.fencingToken;
  sent[a].previousLockId = record.previousLockId;
  sent[a].previousExpiresAt = record.previousExpiresAt;
  sent[a].previousAcquiredAt = record.previousAcquiredAt
}

inline forgetTold(a) {
  sent[a].told = 0;
  sent[a].token = 0;
  sent[a].previousLockId = 0;
  sent[a].previousExpiresAt = 0;
  sent[a].previousAcquiredAt = 0
}

inline reply(a, awaited) {
  if
  :: result = none
  :: answer[ownerOf(a)] == none && current(a) && (awaited) ->
    d_step {
#if CLOCK_WRONG
      if
      :: result == granted || result == tooEarly -> tell(a)
      :: else
      fi;
#endif
#if SLOW
      date[ownerOf(a)] = now;
#endif
      answer[ownerOf(a)] = result;
      result = none
    }
  fi
}

proctype Network(byte self) {
  byte t;
  do
  :: atomic {
      sent[self].acquire && !sent[self].resume && onItsWay(sent[self].acquire) && mayReturn(self) ->
      d_step { storeAcquire(self, sent[self].acquire) };
      reply(self, state[ownerOf(self)] == acquiring)
    }
#ifdef RESEND
  :: atomic {
      sent[self].again && onItsWay(sent[self].again) ->
      d_step { storeAcquire(self, sent[self].again) };
      reply(self, state[ownerOf(self)] == acquiring)
    }
#endif
#ifdef RESUME
  :: atomic {
      sent[self].resume ->
      d_step { storeResume(self, sent[self].acquire) };
      reply(self, state[ownerOf(self)] == acquiring)
    }
#endif
#if RENEWALS
  :: atomic {
      sent[self].renew ->
      do
      :: sent[self].renew & bit(t) -> break
      :: sent[self].renew >> (t + 1) -> t++
      od;
      skip;
      d_step { storeRenew(self, START + LEASE + t); t = 0 };
      if
      :: d_step { result = none; resultUntil = 0 }
      :: answer[ownerOf(self)] == none && current(self) && state[ownerOf(self)] == held ->
        d_step {
          answer[ownerOf(self)] = result;
          answerUntil[ownerOf(self)] = (result == kept -> resultUntil : 0);
          result = none;
          resultUntil = 0
        }
      fi
    }
#endif
#ifdef TELL
  :: atomic {
      sent[self].release ->
      d_step { storeRelease(self) };
      reply(self, state[ownerOf(self)] == releasingAgain || state[ownerOf(self)] == releasing);
    }
#else
  :: d_step { sent[self].release -> storeRelease(self); result = none }
#endif
#if CLOCK_WRONG
  :: atomic {
      sent[self].giveBack ->
      d_step { storeGiveBack(self) };
      /*
       * The refusal shows the owner's lockId under another token. There are two cases:
       * - a duplicate of the acquire was granted again, and the record tells what that grant took over;
       * - another wrong clock took the grant over and gave it back, and the record tells nothing. If the token is one
       *   higher, the first grant is given back. Otherwise a duplicate's grant may have come between, and nothing is given
       *   back.
       */
      if
      :: d_step { result = none }
      :: result == refused && record.lockId == id(self) && !sent[self].giveBackAgain &&
         (mutant(GIVE_BACK_AS_FIRST) || record.previous || record.fencingToken == sent[self].token + 1) ->
        d_step {
          sent[self].giveBackAgain = 1;
          if
          :: record.previous -> tell(self)
          :: else -> sent[self].token = record.fencingToken
          fi;
          sent[self].givenBackAt = (sent[self].previousExpiresAt && !mutant(GIVE_BACK_ACQUIRED_NOW) -> 0 : now);
          result = none
        }
      fi
    }
#endif
#if FORCE
  :: d_step { sent[self].force -> storeForceRelease(self, 0) }
  :: d_step { sent[self].immediately -> storeForceRelease(self, 1) }
#endif
#ifdef GUARD
  :: d_step { sent[self].guardedWrite -> storeGuardedWrite(self) }
#endif
#if COMMIT
  :: atomic {
      sent[self].calls ->
      if
      :: t = 0
      :: sent[self].calls > 1 -> t = 1
      fi;
      d_step { storeCommit(self, t) };
      if
      :: d_step { result = none; t = 0 }
      :: current(self) && state[ownerOf(self)] == held && committing[ownerOf(self)] &&
         commitAnswer[ownerOf(self)] == none && t == sent[self].calls - 1 ->
        d_step {
          commitAnswer[ownerOf(self)] = result;
          commitSeen[ownerOf(self)] = (result == kept -> record.commits : 0);
          result = none;
          t = 0
        }
      fi
    }
#endif
  od
}

/* An owner: lib/lease/acquisition.ts, client.ts and lease.ts. */

/* A release may arrive however the attempt ended. No release is sent for a lease that was handed off. */
inline end(o) {
  sent[me(o)].release = handed != me(o);
#if CLOCK_WRONG
  if
  :: sent[me(o)].giveBack
  :: else -> forgetTold(me(o))
  fi;
#endif
  state[o] = idle;
#if COMMIT
  committing[o] = 0;
  commitAnswer[o] = none;
  commitSeen[o] = 0;
#endif
  answer[o] = none;
  answerUntil[o] = 0;
  deadline[o] = 0;
  renewals[o] = 0
}

inline sendAcquire(o) {
  attempt[o]++;
  attempts++;
  state[o] = acquiring;
  sent[me(o)].acquire = clock(o);
  deadline[o] = now + LEASE - (mutant(DEADLINE_IS_EXPIRY) -> 0 : SAFETY);
#if RELAY
  /* ServerClock: a moment is compared by the earlier clock, and an expiry is written by the later clock. */
  if
  :: o == 0 && mutant(RELAY_BELIEVED) -> sent[me(o)].acquire = clock(o) + relayed
  :: o == 0 && !mutant(RELAY_BELIEVED) -> sent[me(o)].acquire = clock(o) + min(0, relayed); sent[me(o)].late = RELAY
  :: else
  fi;
#endif
#if CLOCK_WRONG
  sent[me(o)].wrongClock = wrong(o)
#else
  /* serverClock.wrote: an owner's :now is never before the expiry that its own release wrote. */
  if
  :: attempt[o] > 1 && everGranted & bit(me(o) - 1) && sent[me(o) - 1].release &&
     sent[me(o) - 1].acquire >= clock(o) ->
    sent[me(o)].acquire = sent[me(o) - 1].acquire + 1
  :: else
  fi
#endif
}

/* The server's Date tells the offset of a clock. */
inline learn(o) {
  offset[o] = (wrong(o) && tells(o) -> 0 : offset[o])
}

#if CLOCK_WRONG
#define wasMisjudged(o) ((answer[o] == tooEarly && !mutant(EARLY_GRANT_BELIEVED)) || (!STEPPED && ( \
  (offset[o] < 0 && tells(o) && !mutant(BEHIND_BELIEVED)) || (offset[o] > SKEW && !mutant(AHEAD_BELIEVED)))))
#else
#define wasMisjudged(o) false
#endif

proctype Client(byte self) {
  do
#if JUDGED
  /* judgedInstant: a judge read before a write. */
  :: d_step { wrong(self) && (state[self] == idle || state[self] == held) -> learn(self) }
#endif
#if SETS
  /* A clock is set. A clock that is set forwards ends the lease that is held (invariant 5: the larger of two clocks). */
#if AHEAD
  :: d_step {
      sets < SETS && !wrong(self) ->
      sets++;
      offset[self] = AHEAD;
      deadline[self] = (state[self] == held -> 0 : deadline[self])
    }
#endif
#if BEHIND
  :: d_step { sets < SETS && !wrong(self) -> sets++; offset[self] = -BEHIND }
#endif
#endif
  /* tryAcquire. All owners are alike, so they make their first attempts in their order. */
  :: atomic {
      mayAttempt(self) && (self == 0 || attempt[max(self, 1) - 1]) ->
      d_step { sendAcquire(self) };
#if HOLD
      if
      :: skip
      :: sent[me(self)].hold = 1
      fi;
#endif
#if CAP
      if
      :: skip
      :: d_step { sent[me(self)].capped = 1; deadline[self] = now }
      fi;
#endif
#if ONCE
      if
      :: sent[me(self)].once = 1
#if ONCE > 1
      :: sent[me(self)].once = 2
#endif
#if ONCE > 2
      :: sent[me(self)].once = 3
#endif
      fi
#endif
    }
#ifdef RESEND
  :: d_step {
      state[self] == acquiring && !sent[me(self)].again && clock(self) > sent[me(self)].acquire ->
      sent[me(self)].again = clock(self)
    }
#endif
#ifdef RESUME
  /* resume. A refused resume may be tried again. */
  :: d_step {
      mayAttempt(self) && handed ->
      sendAcquire(self);
      sent[me(self)].resume = handed;
#if HOLD
      /* The handle says until when the lock is closed. The work before the hand-off counts, so a discard keeps it closed. */
      sent[me(self)].hold = sent[handed].hold;
      sent[me(self)].believed = !mutant(DISCARD_OPENS_RESUMED);
#endif
      skip
    }
#endif
#if defined(RESUME) && CLOCK_WRONG
  /* The answer shows that the clock that wrote the expiry is wrong. So the owner resumes the resumed lease once more. */
  :: d_step {
      state[self] == acquiring && sent[me(self)].resume && answer[self] == granted && wasMisjudged(self) &&
      attempt[self] < ATTEMPTS && attempts < BUDGET ->
      learn(self);
      answer[self] = none;
      forgetTold(me(self));
      i = me(self);
      sendAcquire(self);
      sent[me(self)].resume = i
    }
#endif
  /* A grant is given back (giveBack), believed until the deadline, or too late to be a grant (discard). */
  :: d_step {
      state[self] == acquiring && (answer[self] == granted || answer[self] == tooEarly) &&
      !(sent[me(self)].resume && wasMisjudged(self)) ->
      if
      :: wasMisjudged(self) ->
        /*
         * If the record does not tell what the grant took over, the owner leaves the grant, and the lock stays closed.
         */
        if
        :: sent[me(self)].told || mutant(GIVE_BACK_UNKNOWN) ->
          sent[me(self)].giveBack = 1;
          sent[me(self)].givenBackAt = (sent[me(self)].previousExpiresAt && !mutant(GIVE_BACK_ACQUIRED_NOW) -> 0 :
            (mutant(GIVE_BACK_BY_CLOCK) -> clock(self) : now))
        :: else
        fi;
        end(self)
      :: else ->
#if SLOW
        /* ServerClock.untilMs: the longest time by which the clock may be behind unseen is taken off the belief. */
        i = (mutant(SLOW_BELIEVED) || date[self] < sent[me(self)].acquire -> 0 : date[self] - sent[me(self)].acquire);
        deadline[self] = (deadline[self] > i -> deadline[self] - i : 0);
#endif
        if
        :: mutant(DEADLINE_FROM_ANSWER) -> deadline[self] = now + LEASE - SAFETY
        :: mutant(LATE_GRANT_BELIEVED) -> deadline[self] = max(deadline[self], now)
        :: else
        fi;
        if
        :: now <= deadline[self] ->
          state[self] = held;
          answer[self] = none;
#if HOLD
          sent[me(self)].believed = 1;
          closedUntil = max(closedUntil, (sent[me(self)].hold && record.lockId == id(me(self)) -> record.acquiredAt + HOLD : 0));
#endif
          printf("%d: %d believed until %d\n", now, me(self), deadline[self]);
          onlyBeliever(me(self));
#if CLOCK_WRONG
          everBelieved = everBelieved | bit(me(self));
          forgetTold(me(self));
#endif
#ifdef GUARD
          superseded = superseded | (opened & bit(me(self)) -> 0 : everGranted & ~bit(me(self)))
#else
          skip
#endif
        :: else -> end(self)
        fi
      fi;
      learn(self)
    }
  :: d_step { state[self] == acquiring && answer[self] == refused -> end(self); learn(self) }
  /* discard: the wait was cancelled, or no answer came. */
  :: d_step { state[self] == acquiring -> end(self) }
#if RENEWALS
  /* renew */
  :: d_step {
      state[self] == held && now <= deadline[self] && renewals[self] < RENEWALS && judged(self) &&
      !(sent[me(self)].renew & bit(clock(self) - START)) ->
      renewals[self]++;
      sent[me(self)].renew = sent[me(self)].renew | bit(clock(self) - START)
    }
  :: d_step {
      state[self] == held && answer[self] == kept ->
      i = answerUntil[self] - offset[self] - SAFETY;
      if
      :: now <= deadline[self] && i > deadline[self] ->
        deadline[self] = i;
        printf("%d: %d believed until %d\n", now, me(self), deadline[self]);
        onlyBeliever(me(self))
      :: else
      fi;
      answer[self] = none;
      answerUntil[self] = 0
    }
  :: d_step { state[self] == held && answer[self] == lost -> end(self) }
#endif
#if COMMIT
  /* commit: one call after the other. An error leaves unknown whether the commit was applied. */
  :: d_step {
      state[self] == held && now <= deadline[self] && !committing[self] && sent[me(self)].calls < COMMIT ->
      sent[me(self)].number[sent[me(self)].calls] = sent[me(self)].known + 1;
      sent[me(self)].calls++;
      committing[self] = 1
    }
  :: d_step { state[self] == held && committing[self] && commitAnswer[self] == none -> committing[self] = 0 }
  :: d_step {
      state[self] == held && commitAnswer[self] == applied ->
      sent[me(self)].known = sent[me(self)].number[sent[me(self)].calls - 1];
      committing[self] = 0;
      commitAnswer[self] = none
    }
  /* An earlier call of ours was applied, whose answer was lost. So count on from there. */
  :: d_step {
      state[self] == held && commitAnswer[self] == kept ->
      sent[me(self)].known = commitSeen[self];
      sent[me(self)].number[sent[me(self)].calls - 1] = commitSeen[self] + 1;
      commitAnswer[self] = none;
      commitSeen[self] = 0
    }
  :: d_step { state[self] == held && commitAnswer[self] == lost -> end(self) }
#endif
#ifdef GUARD
  :: d_step { state[self] == held && now <= deadline[self] -> sent[me(self)].guardedWrite = 1 }
#endif
#ifdef RESUME
  /* handOff */
  :: d_step {
      state[self] == held && now <= deadline[self] && !handed ->
      handed = me(self);
      if
      :: mutant(HAND_OFF_BELIEVED)
      :: else -> end(self)
      fi
    }
#endif
  /* release: belief ends when the release is sent. A release after the deadline marks no token as done. */
  :: atomic {
      state[self] == held ->
#if ONCE
      if
      :: sent[me(self)].done = 0
      :: now <= deadline[self] -> sent[me(self)].done = sent[me(self)].once
#ifdef PART
      /* A part of the work succeeded. The release leaves out a token that had finished before the grant. */
      :: now <= deadline[self] && sent[me(self)].once > 1 ->
        sent[me(self)].done = 1;
        if
        :: mutant(PART_UNASKED)
        :: else -> sent[me(self)].done = (sent[me(self)].toldDone >= 1 -> 0 : 1)
        fi
#endif
      fi;
#endif
#ifdef TELL
      if
      :: now <= deadline[self] ->
        d_step {
          sent[me(self)].release = 1;
          state[self] = releasing;
          answer[self] = none;
          answerUntil[self] = 0
        }
      :: else -> d_step { end(self) }
      fi
#else
      d_step { end(self) }
#endif
    }
#ifdef TELL
  :: d_step { state[self] == releasing && answer[self] == none -> state[self] = releasingAgain }
  /*
   * The owner is told that the release was applied. A record that proves the release tells so, too. After a second
   * request, releasedBy tells so, or another owner's grant before the deadline.
   */
  :: d_step {
      answer[self] == applied || answer[self] == proven ||
      (state[self] == releasingAgain && (answer[self] == signed || (answer[self] == lost && now <= deadline[self]))) ->
      invariant(TOLD, finished >= sent[me(self)].done);
      invariant(TOLD, record.lockId != id(me(self)) || CLOCK_WRONG);
      end(self)
    }
  /* The owner is told that the lease was lost, or that nobody knows. */
  :: d_step { state[self] == releasing || state[self] == releasingAgain -> end(self) }
#endif
  od
}

#if FORCE || REPAIR
proctype Operator() {
  do
#if FORCE
  :: d_step { record.lockId && !sent[record.lockId].force -> sent[record.lockId].force = 1 }
#endif
#if FORCE > 1
  :: d_step { record.lockId && !sent[record.lockId].immediately -> sent[record.lockId].immediately = 1 }
  :: d_step {
      !record.lockId && record.releasedBy && !sent[record.releasedBy].immediately ->
      sent[record.releasedBy].immediately = 1
    }
#endif
#if REPAIR
  /* One request, which the network delivers at any time and again and again. */
  :: d_step {
      !repairOpens && record.exists && record.expiresAt > now ->
      repairToken = record.fencingToken;
      repairExpiry = record.expiresAt;
      repairOpens = (mutant(REPAIR_BEFORE_ACQUIRED) -> now : max(now, record.acquiredAt + 1))
    }
  :: d_step { repairOpens -> storeRepair() }
#endif
  od
}
#endif

proctype Time() {
  byte o;
  do
  :: d_step {
      now < START + TICKS ->
      now++;
      do
      :: o < OWNERS -> deadline[o] = (now > deadline[o] -> 0 : deadline[o]); o++
      :: else -> break
      od;
      o = 0
    }
#if RETENTION
  /* DynamoDB's TTL deletes the record, and the finished token with it. */
  :: d_step {
      record.exists && record.ttl <= now ->
      record.exists = 0;
      record.lockId = 0;
      record.fencingToken = 0;
      record.expiresAt = 0;
      record.acquiredAt = 0;
      record.releasedBy = 0;
      record.doneToken = 0;
      forgetPrevious();
      record.ttl = 0;
      finished = 0;
      printf("%d: deleted by TTL\n", now)
    }
#endif
  /* In every state, a request with a new lockId and a greater once token is granted a free lock. */
  :: d_step {
      invariant(PROGRESS, (record.exists && record.expiresAt > now) || acquirable(IDS + 1, now, ONCE + 1));
      invariant(PROGRESS, record.expiresAt <= now + max(LEASE, HOLD) + max(SKEW, (JUDGED -> 0 : AHEAD)) + RELAY + ATTEMPTS);
      /* In every state, that request is not granted a lock in which an owner believes. */
      if
      :: acquirable(IDS + 1, now + SKEW, ONCE + 1) -> onlyBeliever(0)
      :: else
      fi
    }
  od
}

init {
  byte o, n;
  atomic {
    do
    :: o < OWNERS ->
      if
      :: offset[o] = 0
      :: offset[o] = SKEW
#if AHEAD
      :: n < WRONG -> offset[o] = AHEAD; n++
#endif
#if BEHIND
      :: n < WRONG -> offset[o] = -BEHIND; n++
#endif
      fi;
#if RELAY
      if
      :: o == 0 -> relayed = RELAY
      :: o == 0 -> relayed = -RELAY
      :: else
      fi;
#endif
      run Client(o);
      o++
    :: else -> break
    od;
    n = 1;
    do
    :: n <= IDS -> run Network(n); n++
    :: else -> break
    od;
#if FORCE || REPAIR
    run Operator();
#endif
    run Time();
    o = 0;
    n = 0
  }
}
