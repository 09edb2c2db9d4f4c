/*
 * The lease protocol, for spin to check in every interleaving: npm run test:model.
 *
 * A few owners compete for one key. A request that was sent stays on its way for ever: it arrives never, once, or over
 * and over, at any time and in any order, and each of its answers may be lost or late. So a lost, a late and a
 * duplicated message need no step of their own, and a crash is a release that never arrives. Owners' clocks differ by
 * up to SKEW ticks, less than SAFETY; with AHEAD or BEHIND, WRONG of them are off by more, until an answer's Date
 * tells (invariant 13). With JUDGED, a read tells before anything is written by such a clock, and with SETS it is set
 * later, too; without JUDGED, clocks are those of Lambda, which are right as a rule and tell in the first answer. With
 * SLOW, an answer that took long does not tell of a clock that is behind. With RELAY, an owner cannot tell which of two
 * clocks is right, its own or the one that a relay writes as Date. What an owner knows of its grant is what the record told that answered it: another wrong clock
 * may have taken the grant over and given it back meanwhile, and then it no longer tells what the grant took over. Time is
 * the server's clock, for TICKS ticks from START. A tick is as long as one likes: the smallest step of a clock in the
 * protocol, the 1 ms that a release adds, is a whole tick here, which is the harder case.
 *
 * Each step has the name of what it stands for in the code:
 *   storeAcquire to storeForceRelease      the function of that name in lib/record/transitions.ts
 *   storeGuardedWrite                      lib/dynamodb/guarded-write.ts
 *   Network                                lib/lease/send.ts, and all that lies between it and the store
 *   Client: tryAcquire, resume, discard    lib/lease/attempt.ts, acquisition.ts, resume.ts
 *   Client: giveBack                       lib/lease/give-back.ts
 *   Client: renew                          lib/lease/heartbeat.ts
 *   Client: release, handOff               lib/lease/release.ts, lease.ts
 *   Operator                               LockClient.forceRelease
 *   Belief and deadline                    lib/lease/term.ts
 *   invariant(n, ...)                      invariant n of docs/protocol.md
 *
 * PROGRESS is liveness in a form that needs no fairness: from every state, whoever asks first for a free lock and is
 * heard gets it, and a lock that nobody renews is free after a lease (or when a wrong clock says, if its grant was
 * neither believed nor given back: unheard, or not knowing what it took over). And from every state, whoever asks gets no
 * lock that another believes to hold.
 *
 * Not in it: waiting (its reads decide nothing), heartbeats as such (a renewal may be sent at any time), an
 * invocation's end (a shorter lease), and freezes (an owner that does nothing for long).
 *
 * mutant(X) plants the fault X: a clause of a condition dropped, something else written, an answer misread. In
 * model.test.ts are the bounds of each configuration, and which fault is found with which.
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
#ifndef HOLD            /* what a release may ask for as holdAtLeastMs */
#define HOLD 0
#endif
#ifndef ONCE            /* once tokens 1 to ONCE */
#define ONCE 0
#endif
#ifndef RETENTION       /* from a record's expiry to its deletion by TTL; no request is on its way for longer */
#define RETENTION 0
#endif
#ifndef FORCE           /* 1: an operator may release by force; 2: also at once */
#define FORCE 0
#endif
#ifndef AHEAD           /* by how much a wrong clock may be ahead, and behind */
#define AHEAD 0
#endif
#ifndef BEHIND
#define BEHIND 0
#endif
#ifndef WRONG           /* how many clocks may be wrong */
#define WRONG 1
#endif
#ifndef JUDGED          /* 1: a read judges each clock before anything is written by it */
#define JUDGED 0
#endif
#ifndef SETS            /* how often a clock is set to a wrong time, whatever its owner is doing */
#define SETS 0
#endif
#ifndef SLOW            /* 1: an answer tells that a clock is behind only if that is by more than the answer took */
#define SLOW 0
#endif
#ifndef RELAY           /* by how much an owner's clock and the Date that it sees differ, the one or the other being right */
#define RELAY 0
#endif
#ifndef STEPPED         /* a clock was stepped while a request was out: of the answer only the grant can be judged. (The
                           code gives back a grant that passes, too; believing it is the harder case.) */
#define STEPPED 0
#endif
/* Also: GUARD, guarded writes. PART, a release that finishes an earlier token. RESUME, a hand-off. TELL, a release's answer. RESEND, an acquire with another :now. */

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

#define SKEW (MUTANT == SKEW_IS_SAFETY -> SAFETY : SAFETY - 1)
#define IDS (OWNERS * ATTEMPTS)
#define START (1 + BEHIND + RELAY)
#define CLOCK_WRONG (AHEAD || BEHIND)
#define max(x, y) ((x) > (y) -> (x) : (y))
#define min(x, y) ((x) < (y) -> (x) : (y))
#define bit(n) (1 << (n))

byte now = START;

/* LockRecord in lib/record/record.ts. 0 stands for what is not there. */
typedef Record {
  bit exists;
  byte lockId, fencingToken, expiresAt, acquiredAt, releasedBy, doneToken, ttl;
  bit previous;             /* whether it tells what the grant took over; with expiry 0 there was no record */
  byte previousLockId, previousExpiresAt, previousAcquiredAt
};
Record record;

/* The requests that were sent under one lockId. A lockId is the number of an attempt, from 1. */
typedef Sent {
  byte acquire;             /* acquire and resume: :now */
  byte again;               /* the same acquire, sent anew with another :now (RESEND) */
  byte once;
  short renew;              /* a set: bit n stands for :until = START + LEASE + n */
  byte resume;              /* the lockId that was handed off */
  byte done;                /* release: the token that is finished, up to its own; 0: none */
  byte toldDone;            /* the token that had finished, as the grant told */
  bit release, hold, giveBack, giveBackAgain, force, immediately, guardedWrite;
  /* What the record that answered told of the grant, and giveBack carries. */
  bit told;
  byte token, previousLockId, previousExpiresAt, previousAcquiredAt, givenBackAt;
  bit wrongClock;           /* sent by a clock that was off by more than SKEW */
  byte late                 /* by how much the latest moment of its sending, from which it expires, is after :now (RELAY) */
};
Sent sent[IDS + 1];
byte handed;                /* the handle of the lease that was handed off */

/* The knowledge of an owner: lib/lease/lease.ts, heartbeat.ts, term.ts. */
mtype = { idle, acquiring, held, releasing, releasingAgain };
mtype = { none, granted, tooEarly, refused, kept, lost, applied, signed, proven };
mtype state[OWNERS] = idle;
mtype answer[OWNERS] = none;
byte answerUntil[OWNERS], attempt[OWNERS], renewals[OWNERS], deadline[OWNERS];
short offset[OWNERS];       /* of its clock from the server's */
short relayed;              /* owner 0: of the one that is wrong, its clock or the Date, from the other one (RELAY) */
byte date[OWNERS];          /* when the server judged what it answers (SLOW) */
byte sets;

#define clock(o) (now + offset[o])
#define wrong(o) (offset[o] < 0 || offset[o] > SKEW)
#define judged(o) (!JUDGED || !wrong(o) || mutant(WRITES_UNJUDGED))
#define mayAttempt(o) (state[o] == idle && attempt[o] < ATTEMPTS && attempts < BUDGET && judged(o))
/* The answer tells its owner that its clock is behind: the Date is later than its clock when the answer comes. */
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

/* What is checked: invariants by their numbers in docs/protocol.md, and five properties beside them. */
#define invariant(n, holds) assert((holds) || (n) == 0)
#define GUARDED_WRITE 201   /* it commits only while nobody else was granted the lock since */
#define ONCE_AT_MOST 202    /* no grant for a token not greater than the one that finished */
#define HOLD_AT_LEAST 203   /* no grant earlier than a release asked for */
#define PROGRESS 204        /* a free lock is granted to whoever asks first; none is closed for longer than a lease */
#define TOLD 205            /* an owner is told only of a release that happened, and of one that did */
#define DONE_GROWS 206      /* the token that finished never shrinks */

/* What the checker remembers for that; sets of lockIds are bits. */
short everGranted, everBelieved;
short superseded;           /* somebody else was granted the lock after it, and believed it */
short forgotten;            /* given back, and no longer named by releasedBy */
short opened;               /* released by force, at once: for these invariant 1 is waived */
bit discarded;              /* the grant of a wrong clock was released unseen */
byte lastEnded;             /* whose release was the last thing that happened; 0: something else was */
byte highestToken, finished, closedUntil, attempts;

mtype result = none;        /* of the request in hand */
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
  /* releasedBy names one grant: one that was given back is forgotten with the next release, and may then come again. */
  invariant(3, !(everGranted & bit(a)) || forgotten & bit(a));
  everGranted = everGranted | bit(a);
  lastEnded = 0;
  if
  :: sent[a].wrongClock
  :: else -> onlyBeliever(a)
  fi
}

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
    invariant(HOLD_AT_LEAST, t >= closedUntil);
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
    record.expiresAt = t + LEASE + sent[a].late;
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
  /* serverClock.tooEarly: the answer's Date, which is too coarse to tell of less than SKEW. */
  if
  :: result == granted && record.previousExpiresAt > now + SKEW -> result = tooEarly
  :: else
  fi;
  printf("%d: acquire of %d, sent at %d: %e. Record: %d until %d\n", now, a, t, result, record.lockId, record.expiresAt)
}

inline storeRenew(a, until) {
  if
  :: record.exists && (mutant(RENEW_MINE) || record.lockId == id(a)) &&
     (mutant(RENEW_GROWS) || record.expiresAt <= until) ->
    invariant(3, lastEnded != a);
    record.expiresAt = until;
    if
    :: mutant(RENEW_WITHOUT_TTL)
    :: else -> writeTtl(until)
    fi;
    result = kept
  :: else ->
    result = (record.lockId == id(a) && !mutant(REFUSAL_IS_LOSS) -> kept : lost);
    /* A believer hears of a loss only from another's grant, or a release. */
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
    closedUntil = max(closedUntil, (sent[a].hold -> record.acquiredAt + HOLD : 0));
    i = (sent[a].hold && !mutant(RELEASE_WITHOUT_HOLD) -> HOLD : (mutant(RELEASE_TO_ACQUIRED) -> 0 : 1));
    record.expiresAt = (mutant(RELEASE_TO_ZERO) -> 0 : record.acquiredAt + i);
    /* What a clock that is wrong, and was not judged, was granted and gave up unseen is closed until that clock's time. */
    invariant(PROGRESS, record.expiresAt <= now + SKEW + ATTEMPTS + (sent[a].hold -> HOLD : 0) ||
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
    invariant(TOLD, result == signed || lastEnded != a || !record.exists || sent[a].force || sent[a].immediately);
    /*
     * Proven, however often the owner sent it: a network may deliver one request twice. A token that is due stands; with
     * none due nobody was granted the lock since, and the expiry is the one that this release writes.
     */
    i = record.acquiredAt + (sent[a].hold -> HOLD : 1);
    result = (result == signed && (sent[a].done || (!record.lockId && record.expiresAt == i)) -> proven : result);
    invariant(TOLD, result == proven || lastEnded != a || !record.exists || record.lockId || sent[a].force || sent[a].immediately);
    /* An operator's release bears the same name: what finished is finished only if the record says so. */
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
    record.expiresAt = t + LEASE;
    record.acquiredAt = (mutant(RESUME_MOVES_ACQUIRED) -> t : record.acquiredAt);
    writeTtl(record.expiresAt)
  :: else
  fi;
  i = record.lockId == id(a) || (mutant(RESUME_KEEPS_LOCK_ID) && record.lockId == sent[a].resume);
  result = (i -> granted : refused);
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
  :: else
  fi;
  printf("%d: force release of %d. Record: %d until %d\n", now, a, record.lockId, record.expiresAt)
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

/* What was given back and forgotten may be granted and given back anew for ever: a few times are enough. */
#define mayReturn(a) (!(forgotten & bit(a)) || highestToken < START + TICKS + AHEAD + 2 * IDS)

/* From the answer an owner knows its grant. */
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
       * Refused by its own id under another token. A duplicate of the acquire was granted once more, and the record tells
       * over what; or another wrong clock took the grant over and gave it back, so that it tells nothing. If that was the
       * very next grant, what is given back is still the first one; otherwise a duplicate's may have come between.
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
  od
}

/* An owner: lib/lease/acquisition.ts, client.ts and lease.ts. */

/* However an attempt ended, a release of it may arrive; but none is sent of what was handed off. */
inline end(o) {
  sent[me(o)].release = handed != me(o);
#if CLOCK_WRONG
  if
  :: sent[me(o)].giveBack
  :: else -> forgetTold(me(o))
  fi;
#endif
  state[o] = idle;
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
  /* ServerClock: compared by the earlier clock, written by the later one. */
  if
  :: o == 0 && mutant(RELAY_BELIEVED) -> sent[me(o)].acquire = clock(o) + relayed
  :: o == 0 && !mutant(RELAY_BELIEVED) -> sent[me(o)].acquire = clock(o) + min(0, relayed); sent[me(o)].late = RELAY
  :: else
  fi;
#endif
#if CLOCK_WRONG
  sent[me(o)].wrongClock = wrong(o)
#else
  /* serverClock.wrote: an owner's own now never stands behind what its release wrote. */
  if
  :: attempt[o] > 1 && everGranted & bit(me(o) - 1) && sent[me(o) - 1].release &&
     sent[me(o) - 1].acquire >= clock(o) ->
    sent[me(o)].acquire = sent[me(o) - 1].acquire + 1
  :: else
  fi
#endif
}

/* The server's Date tells how far a clock is off. */
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
  /* judgedInstant: a read, before anything is written. */
  :: d_step { wrong(self) && (state[self] == idle || state[self] == held) -> learn(self) }
#endif
#if SETS
  /* The clock is set. Set forwards, it ends the lease that is held (invariant 5: the larger of two clocks). */
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
  /* tryAcquire. Owners are alike: the first attempts are made in their order. */
  :: atomic {
      mayAttempt(self) && (self == 0 || attempt[max(self, 1) - 1]) ->
      d_step { sendAcquire(self) };
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
  /* resume, also once more after a refusal. */
  :: d_step { mayAttempt(self) && handed -> sendAcquire(self); sent[me(self)].resume = handed }
#endif
#if defined(RESUME) && CLOCK_WRONG
  /* Its expiry was written by a clock that the answer shows to be wrong: the resumed lease is resumed once more. */
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
  /* Granted: given back (giveBack), believed until the deadline, or too late to be a grant (discard). */
  :: d_step {
      state[self] == acquiring && (answer[self] == granted || answer[self] == tooEarly) &&
      !(sent[me(self)].resume && wasMisjudged(self)) ->
      if
      :: wasMisjudged(self) ->
        /* What the record does not tell cannot be given back: the lock stays closed. */
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
        /* ServerClock.untilMs: of what the answer does not tell, the worst. */
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
  /* release: belief ends when it is sent. After the deadline nothing counts as done. */
  :: atomic {
      state[self] == held ->
#if ONCE
      if
      :: sent[me(self)].done = 0
      :: now <= deadline[self] -> sent[me(self)].done = sent[me(self)].once
#ifdef PART
      /* A part of the work succeeded. A token that had finished before the grant is left out. */
      :: now <= deadline[self] && sent[me(self)].once > 1 ->
        sent[me(self)].done = 1;
        if
        :: mutant(PART_UNASKED)
        :: else -> sent[me(self)].done = (sent[me(self)].toldDone >= 1 -> 0 : 1)
        fi
#endif
      fi;
#endif
#if HOLD
      if
      :: sent[me(self)].hold = 0
      :: sent[me(self)].hold = 1
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
   * Told: released. Also by a record that proves it, and, if it was sent again, by the name in the record or by another's
   * grant before the deadline.
   */
  :: d_step {
      answer[self] == applied || answer[self] == proven ||
      (state[self] == releasingAgain && (answer[self] == signed || (answer[self] == lost && now <= deadline[self]))) ->
      invariant(TOLD, finished >= sent[me(self)].done);
      invariant(TOLD, record.lockId != id(me(self)) || CLOCK_WRONG);
      end(self)
    }
  /* Told: lost, or not known. */
  :: d_step { state[self] == releasing || state[self] == releasingAgain -> end(self) }
#endif
  od
}

#if FORCE
proctype Operator() {
  do
  :: d_step { record.lockId && !sent[record.lockId].force -> sent[record.lockId].force = 1 }
#if FORCE > 1
  :: d_step { record.lockId && !sent[record.lockId].immediately -> sent[record.lockId].immediately = 1 }
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
  /* DynamoDB's TTL. With the record goes the memory of what finished. */
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
  /* In every state there is: who asks with a new lockId and a greater once token gets a lock that is free. */
  :: d_step {
      invariant(PROGRESS, (record.exists && record.expiresAt > now) || acquirable(IDS + 1, now, ONCE + 1));
      invariant(PROGRESS, record.expiresAt <= now + LEASE + max(SKEW, (JUDGED -> 0 : AHEAD)) + RELAY + ATTEMPTS);
      /* And gets none that somebody believes to hold. */
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
#if FORCE
    run Operator();
#endif
    run Time();
    o = 0;
    n = 0
  }
}
