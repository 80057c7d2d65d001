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
 * What is kept beside the subscription's checkpoint is kept in `Checkpoints` as well: the owner of `projection:<name>` is the
 * active version, and the position of `projection:<name>@<version>` that up to which the world has heard of the events already.
 * The owner of that one is the position up to which the version is built or rebuilt, `inline` or `dropped`.
 *
 * @since 0.1.0
 */
export {
  type Envelope,
  Run,
  type Handlers,
  type Options,
  type Projection,
  type Progress,
  type StorageError,
  NotCaughtUpError,
  RebuildError,
  RunsInlineError,
  ActiveVersionError,
  type TableError,
  type AnyTable,
  type Table,
  type Row
} from "./model.ts"
export { make, sideEffect } from "./define.ts"
export { layer, inline } from "./running.ts"
export { rebuild } from "./rebuild.ts"
export { awaitPosition, whenCaughtUp } from "./waiting.ts"
export { active } from "./registry.ts"
export { switchTo, drop } from "./versions.ts"
export { table } from "./table.ts"
