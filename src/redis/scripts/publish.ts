import { define } from "./script.ts"

/**
 * Adds messages. The list has of each message what it is known by, its type and its document.
 *
 * The id is written after the message, so an id that is known has a message that is there.
 */
export const publish = define({
  keys: ["stream", "ids"],
  arguments: {
    channel: "text",
    /** For how long ids are known, in milliseconds. */
    window: "number"
  },
  whenFull: "refused",
  lua: `
local time = now()
redis.call("ZREMRANGEBYSCORE", ids, "-inf", time - window)
for i = first, #ARGV, 3 do
  if not redis.call("ZSCORE", ids, ARGV[i]) then
    redis.call("XADD", stream, "*", "type", ARGV[i + 1], "event", ARGV[i + 2])
    redis.call("ZADD", ids, time, ARGV[i])
  end
end
-- Also a write when all messages were known: WAIT waits for it, and so for those before it.
redis.call("PEXPIRE", ids, window)
wake(channel, "")
`
})
