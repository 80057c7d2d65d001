/** Projections, and the versions of each side by side: which one readers see, how far a rebuild is, what it holds. */
import type { ProjectionRow, TableRow } from "../../Operations.ts"
import { useAnswer } from "../link/answer.ts"
import { keyOf, underWay } from "../link/acts.ts"
import { followers, now } from "../link/live.ts"
import { to } from "../link/place.ts"
import { ActButton } from "../parts/Act.tsx"
import { Bar, Empty, Pill, Problem, Text, Title } from "../parts/basic.tsx"
import { Spark } from "../parts/Chart.tsx"
import { count, plural } from "../pure/text.ts"

/** How often versions are asked for, in milliseconds. */
const beat = 2000

const Tables = ({ row, tables }: { readonly row: ProjectionRow; readonly tables: ReadonlyArray<TableRow> }) => (
  <table class="sizes">
    <tbody>
      {row.tables.map((name) => {
        const found = tables.find(
          ({ projection, table, version }) => projection === row.projection && version === row.version && table === name
        )
        return (
          <tr key={name}>
            <th scope="row">
              <code>
                <Text>{name}</Text>
              </code>
            </th>
            <td class="number">
              {found === undefined
                ? "…"
                : found.rows === null
                  ? "not there"
                  : `${count(found.rows)}${found.exact ? "" : "+"} rows`}
            </td>
          </tr>
        )
      })}
    </tbody>
  </table>
)

/** How far a rebuild is: by what the act says, or by what the version says of itself. */
const Rebuild = ({ row }: { readonly row: ProjectionRow }) => {
  const { position, projection, target, version } = row
  const act = underWay.value.get(keyOf({ _tag: "Rebuild", projection, version }))
  const progress = act?.progress ?? (target === null ? undefined : { position, target })
  return progress === undefined ? null : (
    <p class="rebuild">
      <span>Rebuilt to #{count(progress.target)}</span>
      <Bar {...progress} />
    </p>
  )
}

const Version = ({ again, row, tables }: { row: ProjectionRow; tables: ReadonlyArray<TableRow>; again: () => void }) => {
  const { active, follower, lag, mode, position, projection, registered, state, version } = row
  const lags = followers.value.find(({ name }) => name === follower)?.lags ?? []
  const act = { projection, version }
  const isThere = mode !== "dropped" && mode !== "absent"
  return (
    <section class="version" data-active={active} aria-label={`Version ${version}`}>
      <header>
        <strong>version {version}</strong>
        {active ? <Pill state="active" words="readers see this" /> : null}
        {mode === "async" ? <Pill state={state} /> : <Pill state="calm" words={mode === "absent" ? "not begun" : mode} />}
      </header>
      <dl>
        <dt>position</dt>
        <dd>#{count(position)}</dd>
        <dt>behind</dt>
        <dd>
          {count(lag)} {lags.length === 0 ? null : <Spark values={lags} width={72} height={16} />}
        </dd>
        {follower === null ? null : (
          <>
            <dt>follower</dt>
            <dd>
              <a href={to("followers", { name: follower })}>
                <Text>{follower}</Text>
              </a>
            </dd>
          </>
        )}
      </dl>
      <Rebuild row={row} />
      <Tables row={row} tables={tables} />
      {registered ? (
        <footer>
          {mode === "dropped" ? null : (
            <ActButton act={{ _tag: "Rebuild", ...act }} label="Rebuild" grave={active} onDone={again} />
          )}
          {!isThere || active ? null : <ActButton act={{ _tag: "Switch", ...act }} label="Switch" onDone={again} />}
          {!isThere || active ? null : <ActButton act={{ _tag: "Drop", ...act }} label="Drop" grave onDone={again} />}
        </footer>
      ) : (
        <p class="quiet">The process that answers has not been told of it.</p>
      )}
    </section>
  )
}

export const Projections = () => {
  const answer = useAnswer(`projections ${Math.floor(now.value / beat)}`, (link) => link.Projections({}))
  const rows = answer.value ?? []
  // Rows are counted once and after acts, not with each beat.
  const sizes = useAnswer(`tables ${rows.map(({ projection, version }) => `${projection}@${version}`).join()}`, (link) =>
    link.Tables({})
  )
  const names = Array.from(new Set(rows.map(({ projection }) => projection)))
  const again = () => {
    answer.again()
    sizes.again()
  }
  return (
    <main class="projections">
      <Title name="Projections" more={plural(names.length, "projection")} />
      <Problem>{answer.problem ?? sizes.problem}</Problem>
      <div class="scroll" tabIndex={0} role="region" aria-label="Projections">
        {names.length === 0 ? <Empty>{answer.value === undefined ? "…" : "There is no projection."}</Empty> : null}
        {names.map((name) => (
          <section class="projection" key={name}>
            <h2>
              <Text>{name}</Text>
            </h2>
            <div class="versions-beside">
              {rows
                .filter(({ projection }) => projection === name)
                .toSorted((a, b) => a.version - b.version)
                .map((row) => (
                  <Version key={row.version} row={row} tables={sizes.value ?? []} again={again} />
                ))}
            </div>
          </section>
        ))}
      </div>
    </main>
  )
}
