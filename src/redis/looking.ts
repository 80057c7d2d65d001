/** What can be told of the server: how much waits for a group, and whether what was acknowledged can be lost. */
import * as Effect from "effect/Effect"
import { finding } from "../transport/kit.ts"
import type { Finding, Transport } from "../transport/Transport.ts"
import * as scripts from "./scripts/index.ts"
import type { Server } from "./server.ts"

export const makeWaiting =
  ({ call, keys, redis }: Server): NonNullable<Transport["Service"]["waiting"]> =>
  (group) =>
    Effect.map(call("waiting", redis.eval(scripts.waiting)({ stream: keys.stream, group })), (count) =>
      count < 0 ? undefined : count
    )

/** What `INFO` says, by name. */
const readInfo = (text: string): ReadonlyMap<string, string> =>
  new Map(
    text.split(/\r?\n/).flatMap((line) => {
      const at = line.indexOf(":")
      return at < 1 ? [] : [[line.slice(0, at), line.slice(at + 1)] as const]
    })
  )

const onMemory = (info: ReadonlyMap<string, string>): Finding => {
  const [most, policy] = [Number(info.get("maxmemory") ?? 0), info.get("maxmemory_policy") ?? "unknown"]
  return most > 0 && policy !== "noeviction"
    ? finding(
        "broker memory",
        "problem",
        `where memory runs out, the server throws keys away (${policy}): messages, too`,
        "set maxmemory-policy noeviction"
      )
    : finding("broker memory", "ok", most > 0 ? `${policy} at ${most} bytes` : "no bound is set: see that the machine has one")
}

export const makeFindings = ({ call, redis }: Server): NonNullable<Transport["Service"]["findings"]> =>
  Effect.gen(function* () {
    const info = readInfo(yield* call("look", redis.send<string>("INFO")))
    const version = info.get("valkey_version") ?? info.get("redis_version") ?? "unknown"
    const name = info.has("valkey_version") ? "Valkey" : "Redis"
    const [isAppending, lastWrite] = [info.get("aof_enabled") === "1", info.get("aof_last_write_status") ?? "ok"]
    const replicas = info.get("connected_slaves") ?? "0"
    return [
      Number.parseInt(info.get("redis_version") ?? "0", 10) >= 7
        ? finding("broker", "ok", `${name} ${version} answers`)
        : finding("broker", "warning", `${name} ${version} answers`, "eventfold is tested from Redis 7 on"),
      !isAppending
        ? finding(
            "broker persistence",
            "problem",
            "appendonly is off: a crash loses everything since the last snapshot",
            "set appendonly yes"
          )
        : lastWrite === "ok"
          ? finding("broker persistence", "ok", `appendonly is on; ${replicas} replicas`)
          : finding(
              "broker persistence",
              "problem",
              "the last write to the append-only file failed",
              "look at the server's disk"
            ),
      onMemory(info)
    ]
  })
