/** One stream: its versions on a line, what happened at one of them, the state that it left, and what it belongs to. */
import type { EventRow } from "../../Operations.ts"
import { useMemo } from "preact/hooks"
import { choose, route, to } from "../link/place.ts"
import { Clock, Empty, EventLink, Pill, Problem, Swatch, Text } from "../parts/basic.tsx"
import { List } from "../parts/List.tsx"
import { Lines, Payload } from "../parts/Payload.tsx"
import { difference, tally } from "../pure/diff.ts"
import { brief, categoryOf, count, plain, plural } from "../pure/text.ts"
import { isNote } from "../pure/tree.ts"
import { Conversation } from "./Conversation.tsx"
import { type Life, type Step, useLife } from "./life.ts"
import { Slider } from "./Slider.tsx"

/** The events of a stream, the chosen one marked, those to come faint. */
const Versions = ({ life, onVersion, version }: { life: Life; version: number; onVersion: (version: number) => void }) => {
  const { latest, steps } = life
  const first = steps[0]?.version ?? 1
  return (
    <List
      class="versions"
      label="Events of the stream"
      rows={steps.length}
      rowHeight={46}
      chosen={steps.findIndex((step) => step.version === version)}
      onChoose={(index) => onVersion(first + index)}
      keyOf={(index) => first + index}
      rowClass={(index) => (first + index > version && version < latest ? "later" : "")}
      row={(index) => {
        const event = steps[index]?.event
        return event === undefined ? null : (
          <>
            <span class="number">{event.version}</span>
            <div class="two-lines">
              <strong class={isNote(event.type) ? "note" : ""}>
                <Text>{event.type}</Text>
                {event.published ? <i class="published" title="Published" role="img" aria-label="published" /> : null}
              </strong>
              <small>
                <Clock at={event.recordedAt} />
                {event.by === null ? null : (
                  <>
                    {" · "}
                    <Text>{event.by}</Text>
                  </>
                )}
              </small>
            </div>
            <span class="number quiet">#{count(event.position)}</span>
          </>
        )
      }}
    />
  )
}

/** What happened: an event with all that is known of it. */
export const EventCard = ({ event, inStream = false }: { readonly event: EventRow; readonly inStream?: boolean }) => (
  <section class="card" aria-label="What happened">
    <header>
      <strong>
        <Text>{event.type}</Text>
      </strong>
      <span class="quiet">
        <Clock at={event.recordedAt} />
        {event.by === null ? null : (
          <>
            {" by "}
            <Text>{event.by}</Text>
          </>
        )}
      </span>
      {event.published ? <Pill state="calm" words="published" /> : null}
      {event.tags.map((tag) => (
        <a class="tag" key={tag} href={to("events", { tag })}>
          <Text>{tag}</Text>
        </a>
      ))}
      <span class="right ids">
        <EventLink position={event.position} />
        <code title={plain(event.id)}>{brief(event.id)}</code>
      </span>
    </header>
    {event.problem === null ? null : <Problem>{event.problem}</Problem>}
    {inStream || event.correlationId === null ? null : (
      <p class="quiet">
        Conversation{" "}
        <a href={to("conversations", { id: event.correlationId, event: event.id })}>
          <Text>{event.correlationId}</Text>
        </a>
      </p>
    )}
    <Payload payload={event.payload} id={event.id} label="Values of the event" />
  </section>
)

/** The state after an event, with what the event has changed. */
const State = ({ before, life, step }: { readonly life: Life; readonly step: Step; readonly before: unknown }) => {
  const lines = useMemo(() => difference(before ?? undefined, step.state), [before, step.state])
  const counts = tally(lines)
  if (life.note !== null) {
    return (
      <section class="state">
        <Empty>
          <Text>{life.note}</Text>
        </Empty>
      </section>
    )
  }
  return (
    <section class="state" aria-label="State">
      <header>
        <h2>State at version {count(step.version)}</h2>
        <span class="quiet">
          {step.version === 1 ? "compared with the beginning" : `compared with version ${count(step.version - 1)}`}
        </span>
        <span class="right counts">
          {counts.added === 0 ? null : <b data-mark="added">+{counts.added}</b>}
          {counts.changed === 0 ? null : <b data-mark="changed">~{counts.changed}</b>}
          {counts.removed === 0 ? null : <b data-mark="removed">−{counts.removed}</b>}
          {counts.added + counts.changed + counts.removed === 0 ? <span class="quiet">unchanged</span> : null}
        </span>
      </header>
      <Problem>{step.problem ?? undefined}</Problem>
      {step.state === null ? null : lines.length === 0 ? (
        <Empty>The state is empty.</Empty>
      ) : (
        <Lines lines={lines} label="Values of the state" />
      )}
    </section>
  )
}

const Heading = ({ aggregate, latest, stream }: { stream: string; aggregate: string | null; latest: number }) => (
  <header class="title">
    <Swatch category={categoryOf(stream)} />
    <h1>
      <Text>{stream}</Text>
    </h1>
    {aggregate === null ? null : (
      <span class="pill" data-tone="calm">
        <Text>{`folded as ${aggregate}`}</Text>
      </span>
    )}
    <span class="right quiet">{plural(latest, "event")}</span>
  </header>
)

export const Stream = ({ stream }: { readonly stream: string }) => {
  const wanted = Number(route.value.params["version"] ?? "")
  const { aggregate, before, latest, life, problem, step, version } = useLife(stream, wanted > 0 ? wanted : undefined)
  const onVersion = (next: number) => {
    const version = Math.max(1, Math.min(latest, next))
    choose({ stream, version: String(version) }, true)
  }
  return (
    <article class="subject" aria-label="Stream">
      <Heading stream={stream} aggregate={aggregate} latest={latest} />
      <Problem>{problem}</Problem>
      <Slider life={life} latest={latest} version={version} onVersion={onVersion} />
      <div class="columns">
        {life === undefined ? <Empty>…</Empty> : <Versions life={life} version={version} onVersion={onVersion} />}
        <div class="happened">
          {step === undefined || life === undefined ? (
            <Empty>…</Empty>
          ) : (
            <>
              <EventCard event={step.event} inStream />
              <State life={life} step={step} before={before} />
            </>
          )}
        </div>
      </div>
      <section class="conversation" aria-label="Conversation">
        {step === undefined ? null : step.event.correlationId === null ? (
          <Empty>This event belongs to no conversation: it has no correlation id.</Empty>
        ) : (
          <Conversation id={step.event.correlationId} chosen={step.event.id} />
        )}
      </section>
    </article>
  )
}
