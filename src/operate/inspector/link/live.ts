/** What the whole page shows and what moves by itself: followers, head, rate. It rests while nobody looks. */
import { computed, effect, signal } from "@preact/signals"
import type { Follower, Overview } from "../../Operations.ts"
import { rateOf } from "../pure/chart.ts"
import { ask, client, connection, connections, listen, unknownOperator } from "./link.ts"

export const overview = signal<Overview | undefined>(undefined)

export const followers = signal<ReadonlyArray<Follower>>([])

/** Whether somebody can see the page. */
export const visible = signal(!document.hidden)

/** The time, to a second, for what was so long ago; it stands still while nobody looks. */
export const now = signal(Date.now())

/** Whether times are shown in UTC, or as the reader's clock has them. */
export const utc = signal(true)

/** Heads that were seen, with when: the last ten seconds. */
const heads = signal<ReadonlyArray<readonly [at: number, head: number]>>([])

/** The position of the newest event, as far as it was heard of. */
export const head = computed(() => heads.value.at(-1)?.[1] ?? overview.value?.head ?? 0)

/** Events a second, over the last seconds. */
export const rate = computed(() => rateOf(heads.value))

const sawHead = (position: number) => {
  const at = Date.now()
  const last = heads.value.at(-1)?.[1] ?? 0
  heads.value = [...heads.value.filter(([then]) => at - then < 10_000), [at, Math.max(position, last)]]
}

const troubled = new Set(["halted", "backing-off", "paused"])

/** What stands still: a number in red. */
export const troubles = computed(
  () => followers.value.filter(({ state }) => state === "halted" || state === "backing-off").length
)

export const parked = computed(() => followers.value.reduce((sum, follower) => sum + follower.parked, 0))

/** Followers, those in need first, and then by name. */
export const byNeed = computed(() => {
  const need = ({ parked, state }: Follower) => (troubled.has(state) ? 0 : parked > 0 ? 1 : state === "unknown" ? 3 : 2)
  return followers.value.toSorted((a, b) => need(a) - need(b) || (a.title < b.title ? -1 : 1))
})

/** The categories that the program has registered, in its order: each has its colour by it. */
export const categories = signal<ReadonlyArray<string>>([])

/** Categories that were met in the store and are not registered come after these. */
export const meet = (found: Iterable<string>): void => {
  const strange = Array.from(new Set(found)).filter((name) => !name.startsWith("$") && !categories.peek().includes(name))
  if (strange.length > 0) categories.value = [...categories.peek(), ...strange]
}

const askOverview = (): (() => void) | undefined => {
  const link = client.value
  if (link === undefined || connections.value === 0) return
  return ask(link.Overview({}), {
    onValue: (answer) => {
      overview.value = answer
      unknownOperator.value = false
      sawHead(answer.head)
    }
  })
}

/** Begins to look; once. */
export const watch = (): void => {
  document.addEventListener("visibilitychange", () => {
    visible.value = !document.hidden
  })
  effect(() => {
    if (!visible.value) return
    now.value = Date.now()
    const timer = setInterval(() => {
      now.value = Date.now()
    }, 1000)
    return () => clearInterval(timer)
  })
  effect(askOverview)
  effect(() => {
    const link = client.value
    if (link === undefined || connections.value === 0) return
    return ask(link.Map({}), {
      onValue: ({ nodes }) => meet(nodes.flatMap(({ kind, name }) => (kind === "aggregate" || kind === "process" ? [name] : [])))
    })
  })
  effect(() => {
    const link = client.value
    if (link === undefined || connections.value === 0 || !visible.value || overview.value === undefined) return
    return listen(link.Followers({ every: 1000 }, { asQueue: true }), {
      onValue: (all) => {
        followers.value = all
        if (all.length > 0) sawHead(Math.max(...all.map(({ lag, position }) => position + lag)))
      }
    })
  })
  // Where nothing follows the log, its head is asked for.
  effect(() => {
    if (!visible.value || connection.value !== "open" || followers.value.length > 0) return
    let takeBack: (() => void) | undefined
    const timer = setInterval(() => {
      takeBack?.()
      takeBack = askOverview()
    }, 2000)
    return () => {
      clearInterval(timer)
      takeBack?.()
    }
  })
}
