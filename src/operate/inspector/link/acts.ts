/** What an operator asks for, and how it goes: said in one place, whatever view one is in. */
import { signal } from "@preact/signals"
import type { Act, ActStep } from "../../Operations.ts"
import { client, listen, unanswered } from "./link.ts"

export interface Said {
  readonly act: Act
  readonly tone: "under-way" | "done" | "refused"
  readonly text: string
  readonly progress?: { readonly position: number; readonly target: number }
}

/** How the last act goes or went. */
export const said = signal<Said | undefined>(undefined)

/** Acts that are under way, by what they are. */
export const underWay = signal<ReadonlyMap<string, Said>>(new Map())

/** What an act is about: the same for two who ask for the same. */
export const keyOf = (act: Act): string => JSON.stringify(act)

/** An act in words. */
export const wordsOf = (act: Act): string => {
  switch (act._tag) {
    case "Pause":
    case "Resume":
      return `${act._tag} ${act.follower}`
    case "Retry":
    case "Discard":
      return `${act._tag} #${act.position} of ${act.follower}`
    case "RetryLetter":
    case "DiscardLetter":
      return `${act._tag === "RetryLetter" ? "Retry" : "Discard"} letter ${act.id} of ${act.group}`
    case "Rebuild":
    case "Switch":
    case "Drop":
      return `${act._tag === "Switch" ? "Switch to" : act._tag} ${act.projection}@${act.version}`
    case "RemoveFollower":
      return `Remove ${act.follower}`
    case "RelayAgain":
      return `Relay #${act.from}–#${act.to} of ${act.relay} again`
  }
}

const say = (key: string, next: Said): void => {
  said.value = next
  const others = new Map(underWay.value)
  if (next.tone === "under-way") others.set(key, next)
  else others.delete(key)
  underWay.value = others
}

const stepText = (act: Act, step: ActStep): Said => {
  const words = wordsOf(act)
  switch (step._tag) {
    case "Asked":
      return { act, tone: "under-way", text: `${words}: asked` }
    case "Taken":
      return { act, tone: "under-way", text: `${words}: taken by ${step.owner}` }
    case "Progress":
      return { act, tone: "under-way", text: words, progress: { position: step.position, target: step.target } }
    case "Done":
      return { act, tone: "done", text: step.outcome }
  }
}

/** `crypto.randomUUID` is there on secure origins alone. */
const newId = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("")

/** Asks for an act, once: whoever asks again while it is under way hears of the first. It goes on where the page is closed. */
export const perform = (act: Act, then: () => void): void => {
  const link = client.value
  const key = keyOf(act)
  if (link === undefined || underWay.value.has(key)) return
  say(key, { act, tone: "under-way", text: `${wordsOf(act)}: asking` })
  let done = false
  listen(link.Act({ id: newId(), act }, { asQueue: true }), {
    onValue: (step) => {
      done = step._tag === "Done"
      say(key, stepText(act, step))
    },
    onEnd: (problem) => {
      const isInDoubt = problem === unanswered || (problem === undefined && !done)
      if (isInDoubt)
        say(key, { act, tone: "refused", text: `${wordsOf(act)}: no outcome was heard, it may have been done: see Operations` })
      else if (problem !== undefined) say(key, { act, tone: "refused", text: problem })
      then()
    }
  })
}
