import { define, owners } from "./script.ts"

/**
 * A member joins a group, or comes back to it. The list has id and attempt of each message that the member knows to have.
 *
 * What else it has was taken by a call whose answer got lost: it is given back as if it had never been taken. So is a message that
 * the member gave back and was given again by such a call: it has a later attempt.
 */
export const join = define({
  keys: ["stream"],
  arguments: {
    group: "text",
    member: "text",
    /** Whether to create the group, and the stream: "yes" or "no". */
    create: "text"
  },
  whenFull: "runs",
  lua: `
if create == "yes" then
  local created = redis.pcall("XGROUP", "CREATE", stream, group, "0", "MKSTREAM")
  if created.err and not string.find(created.err, "BUSYGROUP", 1, true) then return created end
end
local known = {}
for i = first, #ARGV, 2 do known[ARGV[i]] = tonumber(ARGV[i + 1]) end
for _, pending in ipairs(pendingOf(stream, group, member, mostPending)) do
  if known[pending[1]] ~= pending[4] then move(stream, group, pending[1], "${owners.waiting}", pending[4] - 1) end
end
`
})
