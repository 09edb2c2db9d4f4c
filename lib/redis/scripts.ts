// The writes of the protocol as Lua scripts, which the server runs one at a time. A script's text is sent once to each
// server, and named by its SHA-1 afterwards.

import { createHash } from 'node:crypto';
import { MOST_ACQUIRED_AT, MOST_COUNTABLE } from '../record/record.ts';

/** A script, and the name that the server gives to its text. */
export interface Script {
  readonly text: string;
  readonly sha1: string;
}

const script = (text: string): Script => ({ text, sha1: createHash('sha1').update(text).digest('hex') });

/**
 * One operation on one lock, under the conditions of lib/record/transitions.ts.
 *
 * - `KEYS[1]`: the lock's hash. It holds the record's fields as texts, and the id of the write that was applied last.
 * - `ARGV`: the operation, the write's id, the milliseconds that a record stays after its expiry, what else to do (`check`,
 *   `guard`, or both), and the request's fields, each as a name and a value. An absent value is left out.
 * - The answer: `applied`, `refused` or a fault; the server's time in milliseconds; the fault's detail; and the hash.
 *
 * Numbers travel as texts: an answer's integer would lose the digits behind the point, and some clients its precision.
 */
export const OPERATION = script(String.raw`
local operation, writeId, retentionMs, extra = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local r = {}
for i = 5, #ARGV, 2 do r[ARGV[i]] = ARGV[i + 1] end
local time = redis.call('TIME')
local serverNow = time[1] * 1000 + math.floor(time[2] / 1000)
local MOST = ${MOST_COUNTABLE}

local function text(n) return string.format('%.0f', n) end
local function isNumber(t) return t and string.find(t, '^%-?%d+%.?%d*$') end
local function isCountable(t) return string.find(t, '^%d+$') and tonumber(t) <= MOST end
local function copy(from)
  local to = {}
  for name, value in pairs(from) do to[name] = value end
  return to
end
-- Compares bytes. The operators of Lua compare by the locale of the server.
local function isAtMost(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a <= #b
end
-- The user of the connection may be forbidden to ask. Then the answer is nil.
local function info(section, name)
  local answer = redis.pcall('INFO', section)
  return type(answer) == 'string' and string.match(answer, '\n' .. name .. ':([^\r\n]*)') or nil
end

if string.find(extra, 'check') then
  local policy = info('memory', 'maxmemory_policy')
  if policy and policy ~= 'noeviction' then return {'evicts', text(serverNow), policy} end
  if info('replication', 'role') == 'slave' then return {'replica', text(serverNow), ''} end
end

local flat = redis.pcall('HGETALL', KEYS[1])
if flat.err then return {'unread', text(serverNow), flat.err} end
local old, exists = {}, #flat > 0
for i = 1, #flat, 2 do old[flat[i]] = flat[i + 1] end
local function number(t) return isNumber(t) and tonumber(t) or nil end
local token, expiresAt, acquiredAt = number(old.fencingToken), number(old.expiresAt), number(old.acquiredAt)
-- Every lock has a numeric token and expiry. No other hash is given out, and a repair alone may write it.
local isLock = token and expiresAt
-- A count that leasehold does not write is none.
local function count(t) return t and isCountable(t) and tonumber(t) or nil end
local asked, serving, served = count(old.asked), count(old.serving), count(old.served)
local isMine = exists and old.lockId == r.lockId

local function forget(record)
  record.previousLockId, record.previousOwner = nil, nil
  record.previousAcquiredAt, record.previousExpiresAt = nil, nil
end
local function ended()
  local new = copy(old)
  new.lockId, new.serving, new.releasedBy = nil, nil, old.lockId
  forget(new)
  return new
end

local function write(new)
  local set, gone = {}, {}
  for name, value in pairs(new) do
    if value ~= old[name] then set[#set + 1] = name; set[#set + 1] = value end
  end
  for name in pairs(old) do
    if new[name] == nil then gone[#gone + 1] = name end
  end
  -- A client's clock may be days behind: the server's own time keeps the record alive.
  local keptUntil = text(math.max(tonumber(new.expiresAt), serverNow) + retentionMs)
  -- A server whose memory is full refuses HSET, unless the script has written before. So it grants no lock, but a holder
  -- keeps its lease, commits and releases. The record exists: only an acquire makes one.
  if operation ~= 'acquire' then redis.call('PEXPIREAT', KEYS[1], keptUntil) end
  if #set > 0 then redis.call('HSET', KEYS[1], unpack(set)) end
  if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
  if operation == 'acquire' then redis.call('PEXPIREAT', KEYS[1], keptUntil) end
  -- A hint to those who wait. The write stands, whether the hint may be sent or not.
  if not new.lockId then redis.pcall('PUBLISH', KEYS[1], '') end
end

-- Judges a grant by the primary that made the grant before. The primary before may have granted a lease that this server
-- never heard of. So the first grant after a failover closes the lock instead, for one lease. By then the lost lease is over,
-- and its token is lower: a lock has at most one grant in a millisecond. The grant that the record tells of has ended: the
-- lost lease may have been resumed from it.
local function guarded(new)
  if not string.find(extra, 'guard') then return new end
  local primary = info('replication', 'master_replid')
  if not primary then return nil, 'blind' end
  if not old.primary or old.primary == primary then
    new.primary = primary
    return new
  end
  local closed = old.lockId and ended() or copy(old)
  local leaseMs = math.max(tonumber(r.leaseMs), tonumber(old.leaseMs) or 0)
  closed.expiresAt = text(math.max(expiresAt, serverNow + leaseMs))
  closed.fencingToken = text(math.max(token, serverNow))
  closed.primary, closed.writeId = primary, nil
  return closed, 'closed'
end

local operations = {}

function operations.acquire()
  if exists then
    if not (isCountable(old.fencingToken) and isCountable(old.expiresAt)) then return end
    if expiresAt > tonumber(r.now) or isMine or old.releasedBy == r.lockId then return end
    if r.once and old.doneToken and isAtMost(r.once, old.doneToken) then return end
  end
  if r.coalesce == 'ifOwed' and (asked or 0) <= (served or 0) then return end
  local new = copy(old)
  new.serving = nil
  if r.coalesce then
    new.asked = text((asked or 0) + 1)
    new.serving = new.asked
  end
  new.previousLockId, new.previousOwner = old.lockId, old.owner
  new.previousAcquiredAt, new.previousExpiresAt = acquiredAt and old.acquiredAt, old.expiresAt or '0'
  new.lockId, new.owner, new.data = r.lockId, r.owner, r.data
  new.acquiredAt, new.expiresAt, new.leaseMs = r.now, r['until'], r.leaseMs
  new.fencingToken = text((token or tonumber(r.now)) + 1)
  return guarded(new)
end

function operations.renew()
  if not isMine or expiresAt > tonumber(r['until']) then return end
  local new = copy(old)
  new.expiresAt = r['until']
  return new
end

function operations.release()
  if not isMine then return end
  if r.served and not (serving == tonumber(r.served) and asked == serving) then return end
  -- Nobody can tell the expiry that a release writes.
  if not acquiredAt then return nil, 'damaged' end
  local new = ended()
  new.expiresAt = text(acquiredAt + math.max(1, tonumber(r.holdAtLeastMs)))
  if r.doneToken then
    new.doneToken, new.doneResult = r.doneToken, r.doneResult
    if r.doneToken == '' then new.doneToken = nil end
  end
  new.served = r.served or old.served
  return new
end

function operations.ask()
  if not (exists and old.lockId == r.seen and serving == tonumber(r.serving) and asked == serving) then return end
  local new = copy(old)
  new.asked = text(asked + 1)
  return new
end

function operations.turn()
  if not isMine or (serving or 0) >= tonumber(r.serving) or (asked or 0) < tonumber(r.serving) then return end
  local new = copy(old)
  new.serving = r.serving
  return new
end

function operations.giveBack()
  if not isMine or token ~= tonumber(r.fencingToken) then return end
  local new = ended()
  if r['previous.type'] == 'nothing' then
    new.acquiredAt, new.expiresAt = r.now, r.now
  else
    new.lockId, new.owner = r['previous.lockId'], r['previous.owner'] or old.owner
    if new.lockId then new.serving = old.serving end
    new.acquiredAt = r['previous.acquiredAt'] == '0' and r.now or r['previous.acquiredAt']
    new.expiresAt = r['previous.expiresAt']
  end
  return new
end

function operations.resume()
  local isHanded = exists and old.lockId == r.handed
  if not isHanded or not (isCountable(old.fencingToken) and isCountable(old.expiresAt)) then return end
  if not acquiredAt or acquiredAt >= tonumber(r['until']) then return end
  local new = copy(old)
  new.lockId, new.owner, new.expiresAt, new.leaseMs = r.lockId, r.owner, r['until'], r.leaseMs
  new.fencingToken = text(token + 1)
  return guarded(new)
end

function operations.forceRelease()
  local immediately = r.immediately == 'true'
  local hasEnded = exists and not old.lockId and old.releasedBy == r.lockId
  if not isMine and not (immediately and hasEnded) then return end
  if not acquiredAt or acquiredAt < 0 or expiresAt < 0 then return end
  if immediately and acquiredAt > ${MOST_ACQUIRED_AT} then return end
  local new = ended()
  new.releasedBy = r.lockId
  if immediately then new.expiresAt = text(acquiredAt + 2) end
  return new
end

-- leasehold wrote the hash, which is a lock or was one: two of leasehold's fields are left. Another program's hash may have one.
local function isOurs()
  return isLock or (old.fencingToken or old.lockId or old.releasedBy) and (old.acquiredAt or old.leaseMs)
end
-- The token, a moment or the lockId has no value that leasehold writes.
local function isBroken()
  return not (isLock and isCountable(old.fencingToken) and isCountable(old.expiresAt)) or old.lockId == ''
    or not (acquiredAt and acquiredAt >= 0 and acquiredAt <= ${MOST_ACQUIRED_AT})
end
-- A number that is missing or damaged is not greater than another.
local function isGreater(number, than) return number and number > tonumber(than) and number <= MOST end

-- Mends a broken hash, and ends its grant, since nobody can tell whose it is. Refused in four cases:
--
-- - The hash is not leasehold's.
-- - The hash is not broken.
-- - Its expiry lies past the one to write, and the operator does not ask for an immediate opening.
-- - Its token is greater than the one to write, and the operator does not ask to lower it, or saw another hash.
local function mended(isAsSeen)
  if not (isOurs() and isBroken()) then return end
  if isGreater(expiresAt, r.opensAt) and r['broken.immediately'] ~= 'true' then return end
  local mayLower = r['broken.lowersToken'] == 'true' and (isAsSeen or not r['seen.fencingToken'])
  if isGreater(token, r.fencingToken) and not mayLower then return end
  local new = copy(old)
  new.lockId, new.serving = nil, nil
  forget(new)
  new.acquiredAt = r['broken.acquiredAt']
  return new
end

function operations.repair()
  if not exists then return end
  local hasSeen = r['seen.fencingToken']
  local isAsSeen = hasSeen and token == tonumber(hasSeen) and expiresAt == tonumber(r['seen.expiresAt'])
  local new
  if r['broken.acquiredAt'] then new = mended(isAsSeen)
  elseif isLock and isAsSeen and not old.lockId then new = copy(old)
  end
  if not new then return end
  new.expiresAt, new.fencingToken = r.opensAt, r.fencingToken
  return new
end

function operations.commit()
  if not isMine or (tonumber(old.committedNumber) or 0) ~= tonumber(r.number) - 1 then return end
  local new = copy(old)
  new.committedData, new.committedNumber, new.committedToken = r.data, r.number, old.fencingToken
  return new
end

local function answer(status, detail, record)
  local all = {status, text(serverNow), detail or ''}
  for name, value in pairs(record) do all[#all + 1] = name; all[#all + 1] = value end
  return all
end

if operation == 'read' then return answer('refused', '', old) end
local function refused()
  -- A primary that became a replica judges by what it has heard of. There, a write fails that changes nothing: to delete a
  -- field that the hash does not have.
  local absent = 'none'
  while old[absent] do absent = absent .. '.' end
  local probe = redis.pcall('HDEL', KEYS[1], absent)
  return type(probe) == 'table' and probe or answer('refused', '', old)
end
-- An earlier sending of this very request was applied: its answer was lost, and the client sent it again.
if exists and old.writeId == writeId then return answer('applied', '', old) end
if exists and not isLock and operation ~= 'repair' then return answer('refused', '', old) end
local new, instead = operations[operation]()
if instead == 'blind' or instead == 'damaged' then return answer(instead, '', old) end
if not new then return refused() end
if not instead then new.writeId = writeId end
write(new)
return answer(instead and 'refused' or 'applied', '', new)
`);

/**
 * The user's own commands, while the lock of `KEYS[1]` is still granted to a `lockId`.
 *
 * - `ARGV`: the `lockId`, this write's id, and the commands: the number of a command's arguments, and the arguments.
 * - The answer: `applied`, `refused`, or `failed` with the place and the error of the command that failed.
 */
export const GUARDED = script(`
local function stands(name) return redis.call('HGET', KEYS[1], name) end
-- The client sent the request twice, since the connection broke: the commands ran before, and ended as the hash tells.
if stands('guardedWriteId') == ARGV[2] then
  local place = stands('failedPlace')
  if place == '' then return {'applied'} end
  return {'failed', place, stands('failedFault')}
end
if stands('lockId') ~= ARGV[1] then return {'refused'} end
redis.call('HSET', KEYS[1], 'guardedWriteId', ARGV[2], 'failedPlace', '', 'failedFault', '')
local at, place = 3, 1
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  local answer = redis.pcall(unpack(ARGV, at + 1, at + count))
  if type(answer) == 'table' and answer.err then
    redis.call('HSET', KEYS[1], 'failedPlace', place, 'failedFault', answer.err)
    return {'failed', tostring(place), answer.err}
  end
  at, place = at + count + 1, place + 1
end
return {'applied'}
`);
