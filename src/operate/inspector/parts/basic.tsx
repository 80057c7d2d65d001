/** The small parts of every view. Whatever comes out of the store is shown by {@link Text}. */
import type { ComponentChildren } from "preact"
import type * as DateTime from "effect/DateTime"
import { categories, now, utc } from "../link/live.ts"
import { said } from "../link/acts.ts"
import { to } from "../link/place.ts"
import { categoryOf, count, idOf, plain } from "../pure/text.ts"
import { ago, dayAndTime } from "../pure/time.ts"

/** Foreign text: isolated from the direction of what stands around it, with characters that cannot be seen written out. */
export const Text = ({ children }: { readonly children: string }) => <bdi>{plain(children)}</bdi>

/** The number of a category's colour; none for what is not registered, and for streams of the library. */
export const colourOf = (category: string): string => {
  const index = categories.value.indexOf(category)
  return index < 0 ? "own" : String(index % 6)
}

export const Swatch = ({ category }: { readonly category: string }) => <i class="swatch" data-colour={colourOf(category)} />

/** The name of a stream with its colour; with a version, if there is one. */
export const StreamName = ({ stream, version, short }: { stream: string; version?: number; short?: boolean }) => (
  <span class="stream-name">
    <Swatch category={categoryOf(stream)} />
    <Text>{short === true ? idOf(stream) : stream}</Text>
    {version === undefined ? null : <small>v{version}</small>}
  </span>
)

export const StreamLink = ({ stream, version }: { readonly stream: string; readonly version?: number }) => (
  <a class="quiet-link" href={to("streams", { stream, version: version === undefined ? "" : String(version) })}>
    <StreamName stream={stream} {...(version === undefined ? {} : { version })} />
  </a>
)

/** An event by its position, as a link to it in its stream's life. */
export const EventLink = ({ position }: { readonly position: number }) => (
  <a class="mono" href={to("events", { at: String(position) })}>
    #{count(position)}
  </a>
)

/** An instant, in UTC or the reader's time. */
export const Clock = ({ at, only }: { readonly at: DateTime.Utc; readonly only?: "time" | "day" }) => {
  const { day, time } = dayAndTime(at.epochMilliseconds, utc.value)
  const iso = new Date(at.epochMilliseconds).toISOString()
  return (
    <time dateTime={iso} title={`${iso} (${ago(at.epochMilliseconds, now.value)})`}>
      {only === "time" ? time : only === "day" ? day : `${day} ${time}`}
    </time>
  )
}

export const Ago = ({ at }: { readonly at: DateTime.Utc }) => (
  <time dateTime={new Date(at.epochMilliseconds).toISOString()} title={new Date(at.epochMilliseconds).toISOString()}>
    {ago(at.epochMilliseconds, now.value)}
  </time>
)

const tones: Readonly<Record<string, string>> = {
  live: "good",
  done: "good",
  ok: "good",
  active: "good",
  "catching-up": "warm",
  starting: "warm",
  "backing-off": "bad",
  halted: "bad",
  refused: "bad",
  silent: "bad",
  problem: "bad",
  paused: "warm",
  warning: "warm",
  waiting: "warm",
  "under-way": "warm"
}

/** A state as a word on a ground of its tone. */
export const Pill = ({ state, words = state }: { readonly state: string; readonly words?: string }) => (
  <span class="pill" data-tone={tones[state] ?? "calm"}>
    {words.replaceAll("-", " ")}
  </span>
)

export const Dot = ({ state }: { readonly state: string }) => (
  <i class="dot" data-tone={tones[state] ?? "calm"} role="img" aria-label={state.replaceAll("-", " ")} />
)

/** What went wrong, where the answer would stand. */
export const Problem = ({ children }: { readonly children: string | undefined }) =>
  children === undefined ? null : (
    <p class="problem" role="alert">
      <Text>{children}</Text>
    </p>
  )

export const Empty = ({ children }: { readonly children: ComponentChildren }) => <p class="empty">{children}</p>

/** How the last act goes, in the title's line. */
const Said = () => {
  const last = said.value
  return (
    <span class="said" role="status" data-tone={last?.tone ?? ""}>
      {last === undefined ? null : <Text>{last.text}</Text>}
      {last?.progress === undefined ? null : <Bar {...last.progress} />}
    </span>
  )
}

/** A bar for how far something is. */
export const Bar = ({ position, target }: { readonly position: number; readonly target: number }) => {
  const part = target <= 0 ? 1 : Math.min(1, position / target)
  return (
    <span class="bar">
      <progress value={part} aria-label={`${count(position)} of ${count(target)}`} />
      <span class="number">{Math.floor(part * 100)} %</span>
    </span>
  )
}

/** The line that a view begins with. */
export const Title = ({
  children,
  more,
  name
}: {
  name: ComponentChildren
  more?: ComponentChildren
  children?: ComponentChildren
}) => (
  <header class="title">
    <h1>{name}</h1>
    {more === undefined ? null : <span class="quiet">{more}</span>}
    <Said />
    <span class="right">{children}</span>
  </header>
)

/** Views of one thing beside each other, each with an address. */
export const Tabs = ({
  chosen,
  tabs
}: {
  readonly chosen: string
  readonly tabs: ReadonlyArray<readonly [string, string, string]>
}) => (
  <nav class="tabs" aria-label="Parts">
    {tabs.map(([name, label, address]) => (
      <a key={name} href={address} aria-current={name === chosen ? "page" : undefined}>
        {label}
      </a>
    ))}
  </nav>
)
