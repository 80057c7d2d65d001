import { define } from "./script.ts"

/** Forgets a group. Returns 0 where there is none, 1 when it is gone, and 2 where a member of it lives. */
export const forget = define({
  keys: ["stream", "members", "delayed"],
  arguments: { group: "text" },
  whenFull: "runs",
  lua: `
if redis.call("EXISTS", stream) == 0 then return 0 end
local found = false
for _, info in ipairs(redis.call("XINFO", "GROUPS", stream)) do found = found or info[2] == group end
if not found then return 0 end
if #redis.call("ZRANGEBYSCORE", members, now(), "+inf", "LIMIT", 0, 1) > 0 then return 2 end
redis.call("XGROUP", "DESTROY", stream, group)
redis.call("DEL", members, delayed)
return 1
`
}).withReturnType<0 | 1 | 2>()
