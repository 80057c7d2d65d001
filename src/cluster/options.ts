import type * as MessageBus from "../deciding/MessageBus.ts"
import type * as Aggregate from "../definitions/Aggregate.ts"
import type * as Command from "../definitions/Command.ts"

/** The handlers of commands, each by its name. */
export type HandlersOf<C extends Command.Any> = C extends Command.Any ? MessageBus.Handler<C["_tag"]> : never

/**
 * For each command, which aggregate it is for.
 *
 * @category models
 * @since 0.2.0
 */
export type IdsOf<A extends Aggregate.Any, Commands extends ReadonlyArray<Command.Any>> = {
  readonly [Tag in Commands[number]["_tag"]]: (
    payload: Command.Payload<Extract<Commands[number], { readonly _tag: Tag }>>
  ) => Aggregate.Id<A>
}

/**
 * What callers and runners have to agree on.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options<A extends Aggregate.Any, Commands extends ReadonlyArray<Command.Any>> {
  /** For each command, which aggregate it is for. */
  readonly id: IdsOf<A, Commands>
  /**
   * `"volatile"`: a command lives with its caller, and is answered by whoever owns the aggregate then. `"durable"`: it is kept in the storage of the cluster until
   * it has been answered, also where its caller has gone; with `UnitOfWork.layerSql` on the client of `SqlMessageStorage`, events and answer are one commit, elsewhere
   * the answer stands with the events. Those are not written together with others, and have neither personal data
   * nor a `Schema.Redacted` in them. Default: `"volatile"`.
   */
  readonly delivery?: "volatile" | "durable" | undefined
  /** The group of shards that an aggregate belongs to, by its id. Default: `"default"`. */
  readonly shardGroup?: ((id: string) => string) | undefined
}

/** The function by which a command says whom it is for. */
export const idOf = <A extends Aggregate.Any, Commands extends ReadonlyArray<Command.Any>>(
  { id }: Pick<Options<A, Commands>, "id">,
  tag: string
) =>
  // One for each command, each of the payload of its own.
  (id as unknown as Readonly<Record<string, (payload: unknown) => Aggregate.Id<A>>>)[tag] as (payload: unknown) => Aggregate.Id<A>
