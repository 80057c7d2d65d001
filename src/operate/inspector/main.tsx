/** The inspector: a page that looks at a store and at what follows it, over the operations of the server that it comes from. */
import { signal } from "@preact/signals"
import { type JSX, render } from "preact"
import { Frame } from "./frame/Frame.tsx"
import { listenToKeys } from "./frame/keys.ts"
import { connect, unknownOperator } from "./link/link.ts"
import { overview, watch } from "./link/live.ts"
import { followAddress, route } from "./link/place.ts"
import { protocol } from "../Operations.ts"
import type { View } from "./pure/route.ts"
import { Events } from "./views/Events.tsx"
import { Streams } from "./views/Streams.tsx"

/** The views that there are: two that come with the page, and the others as soon as they are loaded. */
const views = signal<Readonly<Partial<Record<View | "help" | "login", () => JSX.Element>>>>({
  streams: Streams,
  events: Events
})

const Loading = () => <main aria-busy="true" />

const Nothing = () => <></>

const Page = () => {
  const { help: Help = Nothing, login: Login = Loading } = views.value
  const Shown = views.value[route.value.view] ?? Loading
  const theirs = overview.value?.protocol ?? protocol
  return (
    <>
      <Frame>
        {unknownOperator.value ? (
          <Login />
        ) : theirs === protocol ? (
          <Shown key={`${route.value.view} ${Shown === Loading}`} />
        ) : (
          <main>
            <p class="problem" role="alert">
              This page speaks version {protocol} of the operations, and the server version {theirs}. Load the page anew.
            </p>
          </main>
        )}
      </Frame>
      <Help />
    </>
  )
}

followAddress()
listenToKeys()
watch()
connect()
const root = document.querySelector("#page")
if (root !== null) render(<Page />, root)

void import("./views/later.ts").then(({ later }) => {
  views.value = { ...views.value, ...later }
})
