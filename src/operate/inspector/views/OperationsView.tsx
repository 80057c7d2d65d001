/** What operators have asked for, who it was and what came of it; and what the store itself says of its health. */
import type { AskedRow } from "../../Operations.ts"
import { useAnswer, usePages } from "../link/answer.ts"
import { said, wordsOf } from "../link/acts.ts"
import { overview } from "../link/live.ts"
import { route, to } from "../link/place.ts"
import { Bar, Clock, Empty, Pill, Problem, Tabs, Text, Title } from "../parts/basic.tsx"
import { List } from "../parts/List.tsx"
import { bytes, count, plain } from "../pure/text.ts"

const Asked = () => {
  const pages = usePages<AskedRow, unknown>(`asked ${said.value?.text ?? ""}`, (link, after) =>
    link.Asked({ limit: 200, ...(after === undefined ? {} : { after }) })
  )
  const { items } = pages
  return (
    <>
      <Problem>{pages.problem}</Problem>
      {items.length === 0 ? (
        <Empty>{pages.loading ? "…" : "Nobody has asked for anything."}</Empty>
      ) : (
        <List
          class="asked-list"
          label="What was asked for"
          rows={items.length}
          rowHeight={34}
          onEnd={pages.load}
          keyOf={(index) => items[index]?.id ?? index}
          row={(index) => {
            const asked = items[index]
            if (asked === undefined) return null
            const { act, at, by, outcome, progress, reason, state } = asked
            return (
              <>
                <span class="mono quiet">
                  <Clock at={at} />
                </span>
                <strong>
                  <Text>{by}</Text>
                </strong>
                <span class="event">
                  <Text>{wordsOf(act)}</Text>
                </span>
                <span>
                  <Pill state={state} />
                </span>
                {progress !== null && state === "under-way" ? (
                  <Bar {...progress} />
                ) : (
                  <span class="gist" title={plain(outcome ?? reason ?? "")}>
                    <Text>{outcome ?? reason ?? ""}</Text>
                  </span>
                )}
              </>
            )
          }}
        />
      )}
    </>
  )
}

const signs = { ok: "✓", warning: "!", problem: "✗" } as const

const Doctor = () => {
  const answer = useAnswer("doctor", (link) => link.Doctor({}))
  const size = useAnswer("size", (link) => link.Size({}))
  const { library, store } = overview.value ?? { library: "", store: "" }
  return (
    <div class="scroll doctor" tabIndex={0} role="region" aria-label="Health">
      <p>
        <strong>
          <Text>{store}</Text>
        </strong>{" "}
        <span class="quiet">
          eventfold {library}
          {size.value === undefined ? null : ` · ${count(size.value.head)} events`}
          {typeof size.value?.bytes === "number" ? ` · ${bytes(size.value.bytes)}` : null}
        </span>
      </p>
      <Problem>{answer.problem ?? size.problem}</Problem>
      {answer.value === undefined && answer.problem === undefined ? <Empty>It is being looked at …</Empty> : null}
      <ul>
        {answer.value?.map(({ check, level, message, remedy }) => (
          <li key={check + message} data-level={level}>
            <b aria-label={level}>{signs[level]}</b>
            <div>
              <p>
                <Text>{message}</Text>
              </p>
              {remedy === null ? null : (
                <p class="remedy">
                  → <Text>{remedy}</Text>
                </p>
              )}
            </div>
            <code class="quiet">
              <Text>{check}</Text>
            </code>
          </li>
        ))}
      </ul>
    </div>
  )
}

export const OperationsView = () => {
  const { part = "asked" } = route.value.params
  const { mayAct, operator } = overview.value ?? { mayAct: false, operator: "" }
  return (
    <main class="operations">
      <Title name="Operations" more={<Text>{`${operator} ${mayAct ? "may act" : "may look, and not act"}`}</Text>} />
      <Tabs
        chosen={part}
        tabs={[
          ["asked", "Asked for", to("operations")],
          ["doctor", "Health", to("operations", { part: "doctor" })]
        ]}
      />
      {part === "doctor" ? <Doctor /> : <Asked />}
    </main>
  )
}
