/** Process managers: their instances, each with its life in time and the deadlines that it waits for. */
import type { DeadlineRow, ProcessRow } from "../../Operations.ts"
import { useAnswer, usePages } from "../link/answer.ts"
import { followers, now } from "../link/live.ts"
import { choose, route, to } from "../link/place.ts"
import { Clock, Dot, Empty, Problem, StreamName, Text, Title } from "../parts/basic.tsx"
import { List } from "../parts/List.tsx"
import { count } from "../pure/text.ts"
import { span } from "../pure/time.ts"
import { ProcessLife } from "./ProcessLife.tsx"

const Known = ({ chosen, process }: { readonly process: ProcessRow; readonly chosen: boolean }) => {
  const of = (name: string | null) => followers.value.find((follower) => follower.name === name)
  const reacting = of(process.follower)
  const watching = of(process.watch)
  return (
    <a class="process" href={to("processes", { process: process.name })} aria-current={chosen ? "true" : undefined}>
      <strong>
        <Text>{process.name}</Text>
      </strong>
      <span class="quiet">
        <Dot state={reacting?.state ?? "unknown"} /> reacts {reacting === undefined ? "" : `· ${count(reacting.lag)} behind`}
      </span>
      {process.watch === null ? null : (
        <span class="quiet">
          <Dot state={watching?.state ?? "unknown"} /> watches deadlines
        </span>
      )}
      <span class="tags">
        {process.reactsTo.map((type) => (
          <i key={type}>
            <Text>{type}</Text>
          </i>
        ))}
        {process.deadlines.map((type) => (
          <i key={type} class="deadline">
            <Text>{type}</Text>
          </i>
        ))}
      </span>
    </a>
  )
}

const Due = ({ deadline }: { readonly deadline: DeadlineRow }) => {
  const left = deadline.due.epochMilliseconds - now.value
  return (
    <>
      <span class={left < 0 ? "bad" : "warm"}>{left < 0 ? `${span(left)} overdue` : `in ${span(left)}`}</span>
      <Clock at={deadline.due} />
      <span class="event">
        <Text>{deadline.type}</Text>
      </span>
      <StreamName stream={deadline.stream} />
    </>
  )
}

/** What a process waits for, the next first. */
const Deadlines = ({ process }: { readonly process: string }) => {
  const pages = usePages<DeadlineRow, unknown>(`deadlines ${process} ${Math.floor(now.value / 5000)}`, (link, after) =>
    link.Deadlines({ process, limit: 200, ...(after === undefined ? {} : { after }) })
  )
  const { items } = pages
  return (
    <section class="deadlines" aria-label="Deadlines">
      <h2>Deadlines</h2>
      <Problem>{pages.problem}</Problem>
      {items.length === 0 ? (
        <Empty>{pages.loading ? "…" : "It waits for nothing."}</Empty>
      ) : (
        <List
          class="due-list"
          label="Deadlines"
          rows={items.length}
          rowHeight={26}
          chosen={-1}
          onChoose={(index) => choose({ stream: items[index]?.stream ?? "" })}
          onEnd={pages.load}
          row={(index) => {
            const deadline = items[index]
            return deadline === undefined ? null : <Due deadline={deadline} />
          }}
        />
      )}
    </section>
  )
}

const Instances = ({ process }: { readonly process: ProcessRow }) => {
  const pages = usePages(`instances ${process.category}`, (link, after) =>
    link.Streams({ category: process.category, order: "newest", limit: 200, ...(after === undefined ? {} : { after }) })
  )
  const { items } = pages
  const shown = route.value.params["stream"] ?? items[0]?.stream
  return (
    <div class="instances">
      <section class="side" aria-label="Instances">
        <Problem>{pages.problem}</Problem>
        <List
          label="Instances"
          rows={items.length}
          rowHeight={30}
          main
          chosen={items.findIndex(({ stream }) => stream === shown)}
          onChoose={(index) => choose({ process: process.name, stream: items[index]?.stream ?? "" })}
          onEnd={pages.load}
          keyOf={(index) => items[index]?.stream ?? index}
          row={(index) => {
            const row = items[index]
            return row === undefined ? null : (
              <>
                <StreamName stream={row.stream} short />
                <small class="number">v{row.version}</small>
              </>
            )
          }}
        />
      </section>
      <section class="instance" aria-label="Instance">
        {shown === undefined ? (
          <Empty>{pages.loading ? "…" : "It has no instance yet."}</Empty>
        ) : (
          <ProcessLife key={shown} process={process.name} stream={shown} />
        )}
        <Deadlines process={process.name} />
      </section>
    </div>
  )
}

export const Processes = () => {
  const answer = useAnswer("processes", (link) => link.Processes({}))
  const all = answer.value ?? []
  const { process } = route.value.params
  const shown = all.find(({ name }) => name === process) ?? all[0]
  return (
    <main class="processes">
      <Title name="Processes" more={`${all.length} registered`} />
      <Problem>{answer.problem}</Problem>
      {all.length === 0 ? (
        <Empty>{answer.value === undefined ? "…" : "No process manager is registered where this is answered."}</Empty>
      ) : null}
      <nav class="process-row" aria-label="Process managers">
        {all.map((process) => (
          <Known key={process.name} process={process} chosen={process === shown} />
        ))}
      </nav>
      {shown === undefined ? null : <Instances key={shown.name} process={shown} />}
    </main>
  )
}
