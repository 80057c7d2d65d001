import { define } from "./script.ts"

/** How many messages a group has not done with; -1 where there is no such group, or where the server cannot tell. */
export const waiting = define({
  keys: ["stream"],
  arguments: { group: "text" },
  whenFull: "runs",
  lua: `
if redis.call("EXISTS", stream) == 0 then return -1 end
for _, info in ipairs(redis.call("XINFO", "GROUPS", stream)) do
  local told = {}
  for place = 1, #info, 2 do told[info[place]] = info[place + 1] end
  if told["name"] == group then
    if type(told["lag"]) ~= "number" then return -1 end
    return told["lag"] + told["pending"]
  end
end
return -1
`
}).withReturnType<number>()
