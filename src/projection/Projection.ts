/**
 * Projections: views that are folded from the log.
 *
 * A projection names events and says what each does to a view. It runs in one of two ways:
 *
 * - **async** ({@link layer}): a transactional subscription. View and checkpoint commit together, so that each event takes effect
 *   exactly once, whatever crashes; of all processes that run it, one works.
 * - **inline** ({@link inline}): in the unit of work that stages the events. View and events commit together.
 *
 * Versions live side by side: each has its own tables ({@link table}) and its own checkpoint. The first to start is the active one,
 * and a later one builds beside it until {@link switchTo}.
 *
 * What is known of the versions stands in a registry beside the checkpoints (`Checkpoints.ProjectionVersion`): how each is run, which
 * one is active, up to where it is built, and up to where the world has heard of its events.
 *
 * @since 0.1.0
 */
export {
  type Envelope,
  Run,
  type RunService,
  type Handlers,
  type Options,
  type Projection,
  type Progress,
  type StorageError,
  NotCaughtUpError,
  RebuildError,
  RunsInlineError,
  ActiveVersionError,
  RowRefusedError,
  TableTakenError,
  TableUnlistedError,
  type TableError,
  type AnyTable,
  type Table,
  type Row
} from "./model.ts"
export type { ColumnType } from "./columns.ts"
export { type Condition, InvalidCursorError, type Orderable, type Page, type Query } from "./query.ts"
export type { IndexOptions } from "./indexes.ts"
export { make, sideEffect } from "./define.ts"
export { layer, inline } from "./running.ts"
export { rebuild } from "./rebuild.ts"
export { awaitPosition, whenCaughtUp } from "./waiting.ts"
export { active } from "./registry.ts"
export { type RowCount, rowCounts } from "./sizes.ts"
export { switchTo, drop, prepare } from "./versions.ts"
export { type ForgettingOptions, table } from "./table.ts"
