import { define } from "./script.ts"

/** Removes what is old and done with by every group. It runs when the server is full: it makes room. */
export const trim = define({
  keys: ["stream"],
  arguments: {
    /** How old messages become at least, in milliseconds. */
    retention: "number",
    /** How old they become at most, in milliseconds; -1 for no limit. */
    greatestAge: "number"
  },
  whenFull: "runs",
  lua: `
local function before(a, b)
  local aTime, aNumber = string.match(a, "(%d+)-(%d+)")
  local bTime, bNumber = string.match(b, "(%d+)-(%d+)")
  if aTime ~= bTime then return tonumber(aTime) < tonumber(bTime) end
  return tonumber(aNumber) < tonumber(bNumber)
end

if redis.call("EXISTS", stream) == 0 then return end
local floor = string.format("%.0f-0", math.max(0, now() - retention))
for _, info in ipairs(redis.call("XINFO", "GROUPS", stream)) do
  local group = {}
  for i = 1, #info, 2 do group[info[i]] = info[i + 1] end
  local reached = group["last-delivered-id"]
  if group["pending"] > 0 then reached = redis.call("XPENDING", stream, group["name"])[2] end
  if before(reached, floor) then floor = reached end
end
if greatestAge >= 0 then
  local oldest = string.format("%.0f-0", math.max(0, now() - greatestAge))
  if before(floor, oldest) then floor = oldest end
end
redis.call("XTRIM", stream, "MINID", "~", floor, "LIMIT", 0)
`
})
