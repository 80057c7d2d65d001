import { type Entry, prefixes } from "../cloudEvents.ts"
import { define, owners } from "./script.ts"

/** How many entries one call reads in search of types, so that others can use the server meanwhile. */
const mostScanned = 1000

/**
 * One round of a member: what it says, and what it is given. The list has of each answer id, attempt, and `ack`, `unreadable` or the
 * milliseconds after which the message is to be delivered again; then "all", or "some" and the types that the member asks for.
 *
 * Says that the member is alive, gives back what members had that are not, and what has been delayed long enough. Then notes the
 * answers, except those to messages that are not at this attempt of this member. Then takes: first what was given back, in the
 * order of the stream, then what is new. Messages of other types are done with.
 *
 * What has no type that can be found is no message: it is given to whoever comes.
 *
 * Returns after how many milliseconds to ask again (-1: nothing is known to come), then of each message its id, its attempt, and its
 * document, or its fields where it has none.
 */
export const step = define({
  keys: ["stream", "members", "delayed"],
  arguments: {
    channel: "text",
    group: "text",
    member: "text",
    /** After how long without a sign of life its messages go to others, in milliseconds. */
    lease: "number",
    /** The most messages it takes. */
    wanted: "number",
    /** How many answers the list begins with. */
    answers: "number",
    /** The first and the last of the entries that are answered, in the order of the stream. */
    least: "text",
    greatest: "text"
  },
  whenFull: "runs",
  lua: `
local filter = first + 3 * answers
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

local attempts = {}
if answers > 0 then
  for _, pending in ipairs(redis.call("XPENDING", stream, group, least, greatest, 2 * answers + 10, member)) do
    attempts[pending[1]] = pending[4]
  end
end
local function attemptOf(id)
  if attempts[id] then return attempts[id] end
  local pending = redis.call("XPENDING", stream, group, id, id, 1, member)[1]
  return pending and pending[4]
end
local acknowledge = { "XACK", stream, group }
local function acknowledgeAll()
  if #acknowledge > 3 then redis.call(unpack(acknowledge)) end
  acknowledge = { "XACK", stream, group }
end
for i = first, filter - 1, 3 do
  local id, attempt, answer = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  if attemptOf(id) == attempt then
    if answer == "ack" then
      acknowledge[#acknowledge + 1] = id
      if #acknowledge >= 1000 then acknowledgeAll() end
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
acknowledgeAll()

local typeFields = { ${prefixes.map((prefix) => `["${prefix}type"] = true`).join(", ")} }
local reply, count, scanned = { -1 }, 0, 0
local function hand(entry, attempt)
  local id, fields, type, event = entry[1], entry[2], nil, nil
  for i = 1, #fields, 2 do
    if typeFields[fields[i]] then type = fields[i + 1] elseif fields[i] == "event" then event = fields[i + 1] end
  end
  if not all and not type and event then
    local parsed, document = pcall(cjson.decode, event)
    if parsed and document and document ~= cjson.null and _G.type(document) == "table" then type = document["type"] end
  end
  scanned = scanned + 1
  if all or not type or types[type] then
    count = count + 1
    reply[#reply + 1] = id
    reply[#reply + 1] = attempt
    reply[#reply + 1] = event or fields
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
}).withReturnType<readonly [number, ...ReadonlyArray<Entry | number>]>()
