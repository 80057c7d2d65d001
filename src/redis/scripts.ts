/**
 * The Lua scripts of the transport: what each does is done whole, in one round trip, and by the server's clock.
 *
 * A group is a consumer group of the stream. What it has been given and is not done with stands in its list of pending entries,
 * under the name of who has it: a member, or one of {@link owners}. Its attempts are the delivery count of its entry.
 */
import * as Redis from "effect/persistence/Redis"

/** Who has a pending message when no member has: the names of consumers of the group. */
const owners = {
  /** It is given to the next member that asks, in the order of the stream. */
  waiting: "$waiting",
  /** It waits for the time that it has in the group's sorted set. */
  delayed: "$delayed",
  /** It is no message that anybody could read. It stays for an operator to look at. */
  unreadable: "$unreadable"
} as const

/** How many entries one `step` reads in search of types, so that others can use the server meanwhile. */
const mostScanned = 1000

const prelude = `
local function now()
  local time = redis.call("TIME")
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A wake-up is a hint: whoever does not hear it asks later.
local function wake(channel, whom)
  redis.pcall("PUBLISH", channel, whom)
end

-- Hands a pending message over, with the delivery count that it has or a given one.
local function move(stream, group, id, owner, count)
  if count then
    redis.call("XCLAIM", stream, group, owner, 0, id, "RETRYCOUNT", count, "JUSTID")
  else
    redis.call("XCLAIM", stream, group, owner, 0, id, "JUSTID")
  end
end

-- More than any member has.
local mostPending = 1000000

local function pendingOf(stream, group, consumer, count)
  return redis.call("XPENDING", stream, group, "-", "+", count, consumer)
end
`

type Arguments = ReadonlyArray<string | number>

const script = (numberOfKeys: number, lua: string) =>
  Redis.script((args: Arguments) => args, { lua: prelude + lua, numberOfKeys })

/**
 * Keys: stream, ids. Arguments: channel, window, whether to trim, retention, greatest age or -1; then of each message what it is
 * known by, type, document.
 *
 * The id is written after the message, so an id that is known has a message that is there.
 */
export const publish = script(
  2,
  `
local stream, ids = KEYS[1], KEYS[2]
local channel, window, trim, retention, greatestAge = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local time = now()

local function before(a, b)
  local aTime, aNumber = string.match(a, "(%d+)-(%d+)")
  local bTime, bNumber = string.match(b, "(%d+)-(%d+)")
  if aTime ~= bTime then return tonumber(aTime) < tonumber(bTime) end
  return tonumber(aNumber) < tonumber(bNumber)
end

if trim == "1" and redis.call("EXISTS", stream) == 1 then
  local floor = string.format("%.0f-0", math.max(0, time - retention))
  for _, info in ipairs(redis.call("XINFO", "GROUPS", stream)) do
    local group = {}
    for i = 1, #info, 2 do group[info[i]] = info[i + 1] end
    local reached = group["last-delivered-id"]
    if group["pending"] > 0 then reached = redis.call("XPENDING", stream, group["name"])[2] end
    if before(reached, floor) then floor = reached end
  end
  if greatestAge >= 0 then
    local oldest = string.format("%.0f-0", math.max(0, time - greatestAge))
    if before(floor, oldest) then floor = oldest end
  end
  redis.call("XTRIM", stream, "MINID", "~", floor, "LIMIT", 0)
end

redis.call("ZREMRANGEBYSCORE", ids, "-inf", time - window)
for i = 6, #ARGV, 3 do
  if not redis.call("ZSCORE", ids, ARGV[i]) then
    redis.call("XADD", stream, "*", "type", ARGV[i + 1], "event", ARGV[i + 2])
    redis.call("ZADD", ids, time, ARGV[i])
  end
end
-- Also a write when all messages were known: WAIT waits for it, and so for those before it.
redis.call("PEXPIRE", ids, window)
wake(channel, "")
`
)

/**
 * Keys: stream. Arguments: group, member, whether to create the group; then id and attempt of each message that the member knows to
 * have.
 *
 * What else it has was taken by a call whose answer got lost: it is given back as if it had never been taken. So is a message that
 * the member gave back and was given again by such a call: it has a later attempt.
 */
export const join = script(
  1,
  `
local stream, group, member = KEYS[1], ARGV[1], ARGV[2]
if ARGV[3] == "1" then
  local created = redis.pcall("XGROUP", "CREATE", stream, group, "0", "MKSTREAM")
  if created.err and not string.find(created.err, "BUSYGROUP", 1, true) then return created end
end
local known = {}
for i = 4, #ARGV, 2 do known[ARGV[i]] = tonumber(ARGV[i + 1]) end
for _, pending in ipairs(pendingOf(stream, group, member, mostPending)) do
  if known[pending[1]] ~= pending[4] then move(stream, group, pending[1], "${owners.waiting}", pending[4] - 1) end
end
`
)

/**
 * Keys: stream, members. Arguments: channel, group, member; then the ids that were handed out: the others are given back as if
 * they had never been taken.
 */
export const leave = script(
  2,
  `
local stream, members, channel, group, member = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local handed = {}
for i = 4, #ARGV do handed[ARGV[i]] = true end
-- Without the group there is nothing to give back.
if redis.call("EXISTS", stream) == 0 then return end
local found = false
for _, info in ipairs(redis.call("XINFO", "GROUPS", stream)) do found = found or info[2] == group end
if not found then return end
for _, pending in ipairs(pendingOf(stream, group, member, mostPending)) do
  move(stream, group, pending[1], "${owners.waiting}", handed[pending[1]] and pending[4] or pending[4] - 1)
end
redis.call("XGROUP", "DELCONSUMER", stream, group, member)
redis.call("ZREM", members, member)
wake(channel, group)
`
)

/**
 * Keys: stream, members, delayed. Arguments: channel, group, member, lease, how many at most, how many answers; of each answer id,
 * attempt, and `ack`, `unreadable` or the milliseconds after which the message is to be delivered again; "all" or "some"; types.
 *
 * Says that the member is alive, gives back what members had that are not, and what has been delayed long enough. Then notes the
 * answers, except those to messages that are not at this attempt of this member. Then takes: first what was given back, in the
 * order of the stream, then what is new. Messages of other types are done with.
 *
 * Returns after how many milliseconds to ask again (-1: nothing is known to come), then id, attempt and document of each message.
 */
export const step = script(
  3,
  `
local stream, members, delayed = KEYS[1], KEYS[2], KEYS[3]
local channel, group, member, lease, wanted = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local filter = 7 + 3 * tonumber(ARGV[6])
local all, types = ARGV[filter] == "all", {}
for i = filter + 1, #ARGV do types[ARGV[i]] = true end
local time = now()

local expiry = redis.call("ZSCORE", members, member)
if not expiry or expiry - time < lease * 0.6 then redis.call("ZADD", members, time + lease, member) end
for _, dead in ipairs(redis.call("ZRANGEBYSCORE", members, "-inf", time)) do
  for _, pending in ipairs(pendingOf(stream, group, dead, mostPending)) do
    move(stream, group, pending[1], "${owners.waiting}")
  end
  redis.call("XGROUP", "DELCONSUMER", stream, group, dead)
  redis.call("ZREM", members, dead)
  wake(channel, group)
end
for _, id in ipairs(redis.call("ZRANGEBYSCORE", delayed, "-inf", time, "LIMIT", 0, 1000)) do
  move(stream, group, id, "${owners.waiting}")
  redis.call("ZREM", delayed, id)
end

for i = 7, filter - 1, 3 do
  local id, attempt, answer = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local pending = redis.call("XPENDING", stream, group, id, id, 1, member)[1]
  if pending and pending[4] == attempt then
    if answer == "ack" then
      redis.call("XACK", stream, group, id)
    elseif answer == "unreadable" then
      move(stream, group, id, "${owners.unreadable}")
    else
      if answer == "0" then
        move(stream, group, id, "${owners.waiting}")
      else
        move(stream, group, id, "${owners.delayed}")
        redis.call("ZADD", delayed, time + tonumber(answer), id)
      end
      wake(channel, group)
    end
  end
end

local reply, count, scanned = { -1 }, 0, 0
local function hand(entry, attempt)
  local id, fields, type, event = entry[1], entry[2], "", ""
  for i = 1, #fields, 2 do
    if fields[i] == "type" then type = fields[i + 1] elseif fields[i] == "event" then event = fields[i + 1] end
  end
  scanned = scanned + 1
  if all or types[type] then
    count = count + 1
    reply[#reply + 1] = id
    reply[#reply + 1] = attempt
    reply[#reply + 1] = event
  else
    redis.call("XACK", stream, group, id)
  end
end

while count < wanted and scanned < ${mostScanned} do
  local waiting = pendingOf(stream, group, "${owners.waiting}", wanted - count)
  if #waiting == 0 then break end
  local claim, attempts = { "XCLAIM", stream, group, member, 0 }, {}
  for _, pending in ipairs(waiting) do
    claim[#claim + 1] = pending[1]
    attempts[pending[1]] = pending[4] + 1
  end
  for _, entry in ipairs(redis.call(unpack(claim))) do hand(entry, attempts[entry[1]]) end
end
while count < wanted and scanned < ${mostScanned} do
  local read = redis.call("XREADGROUP", "GROUP", group, member, "COUNT", wanted - count, "STREAMS", stream, ">")
  if not read then break end
  for _, entry in ipairs(read[1][2]) do hand(entry, 1) end
end

if scanned >= ${mostScanned} then
  reply[1] = 0
else
  local next = redis.call("ZRANGE", delayed, 0, 0, "WITHSCORES")
  if #next > 0 then reply[1] = math.max(1, math.ceil(next[2] - time)) end
end
return reply
`
).withReturnType<readonly [number, ...ReadonlyArray<string | number>]>()
