import { define, owners } from "./script.ts"

/**
 * A member leaves a group. The list has the ids that were handed out: the others are given back as if they had never been taken.
 */
export const leave = define({
  keys: ["stream", "members"],
  arguments: { channel: "text", group: "text", member: "text" },
  whenFull: "runs",
  lua: `
local handed = {}
for i = first, #ARGV do handed[ARGV[i]] = true end
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
})
