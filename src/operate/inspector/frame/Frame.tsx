/** What stands around every view: the top bar, the ways to the views, and a chip for each follower. */
import type { ComponentChildren } from "preact"
import { unknownOperator, connection } from "../link/link.ts"
import { byNeed, head, overview, parked, rate, troubles, utc } from "../link/live.ts"
import { route, to } from "../link/place.ts"
import { Dot, Text } from "../parts/basic.tsx"
import { Spark } from "../parts/Chart.tsx"
import { rateText } from "../pure/chart.ts"
import { type View, views } from "../pure/route.ts"
import { count, plain, short } from "../pure/text.ts"
import { Search } from "./Search.tsx"

const Mark = () => (
  <svg width="18" height="18" viewBox="0 0 18 18" aria-hidden="true" class="mark">
    <path d="M2 3h14L8.5 9L16 15H2" />
    <path d="M2 9h6.5" />
  </svg>
)

const connections = {
  open: ["good", "Connected"],
  connecting: ["warm", "Connecting"],
  lost: ["bad", "Connection lost: it is tried again each second"]
} as const

const Top = () => {
  const [tone, words] = connections[connection.value]
  const { mayAct = false, payloads = "shown", store = "" } = overview.value ?? {}
  return (
    <header class="top">
      <a class="name" href={to("streams")} aria-label="eventfold: streams">
        <Mark />
        <strong>eventfold</strong>
      </a>
      <code class="store quiet" title={plain(store)}>
        <Text>{store}</Text>
      </code>
      <Search />
      <span class="right facts">
        {connection.value === "lost" ? <span class="bad">connection lost</span> : null}
        <i class="dot" data-tone={tone} data-connection={connection.value} title={words} role="img" aria-label={words} />
        <span class="number" title="The position of the newest event" data-head={head.value}>
          #{count(head.value)}
        </span>
        <span class="number quiet" title="Events a second">
          {rateText(rate.value)}/s
        </span>
        {payloads === "shown" ? null : <span class="pill">payloads {payloads}</span>}
        <span class="pill" data-tone={mayAct ? "warm" : "calm"}>
          {mayAct ? "may act" : "read only"}
        </span>
      </span>
    </header>
  )
}

const labels: Readonly<Record<View, string>> = {
  streams: "Streams",
  events: "Events",
  conversations: "Conversations",
  followers: "Followers",
  parked: "Parked",
  projections: "Projections",
  processes: "Processes",
  map: "Map",
  operations: "Operations"
}

/** Light, dark, or as the system has it. */
const schemes = ["light dark", "light", "dark"] as const

const Scheme = () => {
  const next = () => {
    const { style } = document.documentElement
    const index = schemes.findIndex((scheme) => scheme === style.colorScheme)
    style.colorScheme = schemes[(Math.max(0, index) + 1) % schemes.length] ?? "light dark"
  }
  return (
    <button type="button" class="plain" title="Light, dark, or as the system has it" aria-label="Colours" onClick={next}>
      ◐
    </button>
  )
}

const Nav = () => (
  <nav class="ways" aria-label="Views">
    {views.map((view) => (
      <a key={view} href={to(view)} aria-current={view === route.value.view ? "page" : undefined}>
        {labels[view]}
        {view === "followers" && troubles.value > 0 ? (
          <span class="badge" data-tone="bad" aria-label={`${troubles.value} stand still`}>
            {troubles.value}
          </span>
        ) : null}
        {view === "parked" && parked.value > 0 ? (
          <span class="badge" data-tone="warm" aria-label={`${parked.value} parked`}>
            {short(parked.value)}
          </span>
        ) : null}
      </a>
    ))}
    <div class="hints">
      <p>
        <kbd>j</kbd>
        <kbd>k</kbd> row
      </p>
      <p>
        <kbd>←</kbd>
        <kbd>→</kbd> version
      </p>
      <p>
        <kbd>?</kbd> all keys
      </p>
      <p>
        <button type="button" class="plain" aria-pressed={utc.value} onClick={() => (utc.value = !utc.value)}>
          {utc.value ? "UTC" : "local"}
        </button>
        <Scheme />
      </p>
    </div>
  </nav>
)

/** Chips that fit beside each other; the rest is a number. */
const mostChips = 8

const Foot = () => {
  const all = byNeed.value
  return (
    <footer class="foot" aria-label="Followers">
      {all.slice(0, mostChips).map(({ kind, lag, lags, name, state, title }) => (
        <a key={name} class="follower-chip" href={to("followers", { name })}>
          <Dot state={state} />
          <span class="chip-name">
            <Text>{title}</Text>
            {kind === "deadlines" ? <small> deadlines</small> : null}
          </span>
          <span class={`number ${lag >= 1000 ? "warm" : ""}`} data-lag={lag}>
            {short(lag)}
          </span>
          <Spark values={lags} width={38} />
        </a>
      ))}
      {all.length > mostChips ? (
        <a class="follower-chip more" href={to("followers")}>
          +{all.length - mostChips}
        </a>
      ) : null}
    </footer>
  )
}

export const Frame = ({ children }: { readonly children: ComponentChildren }) => (
  <div class="frame" data-lost={connection.value === "lost" && !unknownOperator.value}>
    <Top />
    <Nav />
    {children}
    <Foot />
  </div>
)
