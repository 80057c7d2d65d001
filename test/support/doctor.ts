/** The doctor of a program that has a transport. */
import { Effect, Layer } from "effect"
import { RpcTest } from "effect/rpc"
import { Checkpoints, EventStore, type Transport } from "eventfold"
import { Operate, Operations } from "eventfold/operate"

/** What the doctor of a program says of the broker that it is provided with. */
export const toldByDoctor = <E>(transport: Layer.Layer<Transport.Transport, E>) =>
  Effect.gen(function* () {
    const client = yield* RpcTest.makeClient(Operations.Operations)
    const lines = yield* client.Doctor({})
    return Object.fromEntries(
      lines.filter(({ check }) => check.startsWith("broker")).map(({ check, level, message }) => [check, `${level}: ${message}`])
    )
  }).pipe(
    Effect.provide(
      Layer.fresh(
        Layer.merge(Operate.layerHandlers({}), Operate.layerOperator({ name: "ada" })).pipe(
          Layer.provide(Layer.mergeAll(transport, EventStore.layerMemory, Checkpoints.layerMemory))
        )
      )
    ),
    Effect.scoped
  )
