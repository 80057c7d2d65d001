/**
 * How a Lua script is defined: its keys and arguments have names, here and in Lua.
 *
 * What a script does is done whole, in one round trip, and by the server's clock. A group is a consumer group of the stream. What it
 * has been given and is not done with stands in its list of pending entries, under the name of who has it: a member, or one of
 * {@link owners}. Its attempts are the delivery count of its entry.
 */
import * as Redis from "effect/persistence/Redis"

/** Who has a pending message when no member has: the names of consumers of the group. */
export const owners = {
  /** It is given to the next member that asks, in the order of the stream. */
  waiting: "$waiting",
  /** It waits for the time that it has in the group's sorted set. */
  delayed: "$delayed",
  /** It is no message that anybody could read. It stays for an operator to look at. */
  unreadable: "$unreadable"
} as const

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

type Kind = "text" | "number"

/** What a script is called with: each key and argument by its name, and then a list of any length. */
type Input<Keys extends ReadonlyArray<string>, Arguments extends Readonly<Record<string, Kind>>> = {
  readonly [Key in Keys[number]]: string
} & { readonly [Argument in keyof Arguments]: Arguments[Argument] extends "number" ? number : string }

type List = ReadonlyArray<string | number>

/**
 * Defines a script. In Lua its keys and arguments are locals with their names, numbers are numbers, and `first` is the place in
 * `ARGV` at which the list begins.
 *
 * `whenFull` says what happens while the server has no memory left for more (`maxmemory`): a script that is refused fails before
 * it has done anything; one that runs may write, also if its first command needs memory.
 */
export const define = <
  const Keys extends ReadonlyArray<string>,
  const Arguments extends Readonly<Record<string, Kind>>
>(definition: {
  readonly keys: Keys
  readonly arguments: Arguments
  readonly whenFull: "refused" | "runs"
  readonly lua: string
}) => {
  const names = Object.keys(definition.arguments)
  const local = (names: ReadonlyArray<string>, value: (name: string, index: number) => string) =>
    names.length === 0 ? "" : `local ${names.join(", ")} = ${names.map(value).join(", ")}\n`
  const locals = [
    local(definition.keys, (_, index) => `KEYS[${index + 1}]`),
    local(names, (name, index) =>
      definition.arguments[name] === "number" ? `tonumber(ARGV[${index + 1}])` : `ARGV[${index + 1}]`
    ),
    `local first = ${names.length + 1}\n`
  ]
  const all: ReadonlyArray<string> = [...definition.keys, ...names]
  return Redis.script(
    (input: Input<Keys, Arguments>, list: List = []): List => {
      // Each has a value: the type of the input says so, of names that this code does not know.
      const values = input as Readonly<Record<string, string | number>>
      return [...all.map((name) => values[name] ?? ""), ...list]
    },
    {
      // A script without this line is judged by its first command that writes.
      lua: `#!lua${definition.whenFull === "runs" ? " flags=allow-oom" : ""}\n${prelude}\n${locals.join("")}\n${definition.lua}`,
      numberOfKeys: definition.keys.length
    }
  )
}
