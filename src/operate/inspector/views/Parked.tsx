/** What was set aside: parked events and dead letters, with what to do about each. */
import type { DeadLetterRow, ParkedRow } from "../../Operations.ts"
import type { Act } from "../../Operations.ts"
import { useEffect, useRef } from "preact/hooks"
import { type Pages, usePages } from "../link/answer.ts"
import { parked } from "../link/live.ts"
import { choose, route, to } from "../link/place.ts"
import { ActButton } from "../parts/Act.tsx"
import { Ago, Empty, EventLink, Problem, StreamLink, Tabs, Text, Title } from "../parts/basic.tsx"
import { List } from "../parts/List.tsx"
import { brief, count, plain } from "../pure/text.ts"

const rowHeight = 34

/** Keeps the keyboard where it was when the row under it has gone: at the one that took its place. */
const useKeptFocus = (rows: number) => {
  const box = useRef<HTMLDivElement>(null)
  const place = useRef<{ readonly index: number; readonly act: string } | undefined>(undefined)
  useEffect(() => {
    const wanted = place.current
    if (wanted === undefined || document.activeElement !== document.body) return
    const buttons = box.current?.querySelectorAll<HTMLElement>(`[data-act="${wanted.act}"]`) ?? []
    const next = buttons[Math.min(wanted.index, buttons.length - 1)] ?? box.current?.querySelector<HTMLElement>(".list")
    next?.focus()
    place.current = undefined
  }, [rows])
  const remember = ({ target }: { readonly target: EventTarget | null }) => {
    const button = target instanceof HTMLElement ? target.closest<HTMLElement>("[data-act]") : null
    const act = button?.dataset["act"]
    if (button === null || act === undefined || box.current === null) return
    place.current = { act, index: Array.from(box.current.querySelectorAll(`[data-act="${act}"]`)).indexOf(button) }
  }
  return { box, remember }
}

interface TableOptions<A> {
  readonly pages: Pages<A>
  readonly label: string
  readonly none: string
  readonly row: (item: A, again: () => void) => preact.JSX.Element
  readonly keyOf: (item: A) => string
}

const Table = <A,>({ keyOf, label, none, pages, row }: TableOptions<A>) => {
  const { items } = pages
  const { box, remember } = useKeptFocus(items.length)
  const key = (index: number) => {
    const item = items[index]
    return item === undefined ? index : keyOf(item)
  }
  return (
    <div class="parked-table" ref={box} onClick={remember}>
      <Problem>{pages.problem}</Problem>
      {items.length === 0 ? (
        <Empty>{pages.loading ? "…" : none}</Empty>
      ) : (
        <List
          class="parked-list"
          label={label}
          rows={items.length}
          rowHeight={rowHeight}
          onEnd={pages.load}
          keyOf={key}
          row={(index) => {
            const item = items[index]
            return item === undefined ? null : row(item, pages.again)
          }}
        />
      )}
    </div>
  )
}

const Buttons = ({ again, discard, retry }: { readonly retry: Act; readonly discard: Act; readonly again: () => void }) => (
  <span class="right buttons">
    <ActButton act={retry} label="Retry" onDone={again} />
    <ActButton act={discard} label="Discard" grave onDone={again} />
  </span>
)

const tries = (attempts: number) =>
  attempts === 0 ? (
    <span class="quiet" title="It waits behind another of its stream">
      waits
    </span>
  ) : (
    <>{count(attempts)}×</>
  )

const Cause = ({ children }: { readonly children: string }) => (
  <span class="cause" title={plain(children)}>
    <Text>{children}</Text>
  </span>
)

/** The parked events of one follower, or of all. */
export const ParkedEvents = ({ follower }: { readonly follower?: string }) => {
  const pages = usePages<ParkedRow, unknown>(`parked ${follower ?? ""} ${parked.value}`, (link, after) =>
    link.Parked({ limit: 200, ...(follower === undefined ? {} : { follower }), ...(after === undefined ? {} : { after }) })
  )
  return (
    <Table
      pages={pages}
      label="Parked events"
      none="Nothing is parked."
      keyOf={({ follower, position }) => `${follower} ${position}`}
      row={({ attempts, cause, follower: name, parkedAt, position, stream, type }, again) => (
        <>
          <EventLink position={position} />
          {follower === undefined ? (
            <a class="quiet-link" href={to("followers", { name })}>
              <Text>{name}</Text>
            </a>
          ) : null}
          <span class="event">
            <Text>{type}</Text>
          </span>
          <StreamLink stream={stream} />
          <Cause>{cause}</Cause>
          <span class="number">{tries(attempts)}</span>
          <span class="quiet">
            <Ago at={parkedAt} />
          </span>
          <Buttons
            retry={{ _tag: "Retry", follower: name, position }}
            discard={{ _tag: "Discard", follower: name, position }}
            again={again}
          />
        </>
      )}
    />
  )
}

const DeadLetters = () => {
  const pages = usePages<DeadLetterRow, unknown>("dead letters", (link, after) =>
    link.DeadLetters({ limit: 200, ...(after === undefined ? {} : { after }) })
  )
  return (
    <Table
      pages={pages}
      label="Dead letters"
      none="There is no dead letter."
      keyOf={({ group, id }) => `${group} ${id}`}
      row={({ attempts, cause, group, id, parkedAt, source, subject, type }, again) => (
        <>
          <code title={plain(id)}>
            <Text>{brief(id)}</Text>
          </code>
          <span class="quiet">
            <Text>{group}</Text>
          </span>
          <span class="event">
            <Text>{type}</Text>
          </span>
          <span class="quiet">
            <Text>{subject ?? source}</Text>
          </span>
          <Cause>{cause}</Cause>
          <span class="number">{tries(attempts)}</span>
          <span class="quiet">
            <Ago at={parkedAt} />
          </span>
          <Buttons retry={{ _tag: "RetryLetter", group, id }} discard={{ _tag: "DiscardLetter", group, id }} again={again} />
        </>
      )}
    />
  )
}

export const Parked = () => {
  const { follower = "", part = "events" } = route.value.params
  return (
    <main class="parked">
      <Title name="Parked" more="what was set aside, so that the rest could go on">
        {follower === "" ? null : (
          <button type="button" class="plain" onClick={() => choose({ follower: "" })}>
            all followers
          </button>
        )}
      </Title>
      <Tabs
        chosen={part}
        tabs={[
          ["events", "Parked events", to("parked")],
          ["letters", "Dead letters", to("parked", { part: "letters" })]
        ]}
      />
      {part === "letters" ? <DeadLetters /> : <ParkedEvents {...(follower === "" ? {} : { follower })} />}
    </main>
  )
}
