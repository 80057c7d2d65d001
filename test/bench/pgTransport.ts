/**
 * The transport in PostgreSQL beside a queue of plain SQL on the same server: one table, into which batches are inserted unless
 * their ids are there, from which one statement takes what is due under a lease, past what others have locked, and from which
 * another deletes it. That queue has one group, and no order between members.
 */
import { PgClient, PgConnection } from "@effect/sql-pg"
import { Effect, Layer, Queue, Redacted, Schema } from "effect"
import { Transport } from "eventfold"
import { PgTransport } from "eventfold/postgres"
import { layerWith } from "./adapter.ts"
import { type Case } from "./harness.ts"
import { type Lab, type Parameter } from "./lab.ts"
import { type Broker, type RawTransport, transportCases } from "./transport.ts"

const raw = Effect.fnUntraced(function* ({ address: { schema, url }, connect }: Lab) {
  const table = `${schema}.raw_message`
  const writer = yield* connect
  const reader = yield* connect
  yield* writer.query(
    `create table ${table} (seq bigserial primary key, id text not null unique, type text not null, body json not null,
       attempts int not null default 0, due_at timestamptz not null default now()) with (fillfactor = 70)`
  )
  const listener = yield* PgConnection.make({ url: Redacted.make(url) })
  const notifications = yield* listener.listen(table)
  const encode = Schema.encodeSync(Schema.fromJsonString(Transport.Message))
  const texts = (values: ReadonlyArray<string>): Parameter => ({ type: "text", values })
  const transport: RawTransport = {
    publish: (batch) =>
      writer.query(
        `with i as (
           insert into ${table} (id, type, body) select id, type, body::json from unnest($1::text[], $2::text[], $3::text[]) m(id, type, body)
           on conflict (id) do nothing
         )
         select pg_notify('${table}', '')::text`,
        [texts(batch.map(({ id }) => id)), texts(batch.map(({ type }) => type)), texts(batch.map((message) => encode(message)))]
      ),
    consume: (_, concurrency, count, arrived) =>
      Effect.gen(function* () {
        for (let done = 0; done < count;) {
          const rows = yield* reader.query(
            `update ${table} m set attempts = attempts + 1, due_at = now() + interval '30 seconds'
               from (select seq from ${table} where due_at <= now() order by seq limit $1::int for update skip locked) due
              where m.seq = due.seq returning m.seq::text, m.attempts, m.body::text`,
            [String(concurrency)]
          )
          for (const row of rows) arrived((JSON.parse(row[2] as string) as { readonly id: string }).id)
          if (rows.length === 0) yield* Queue.takeAll(notifications)
          else
            yield* reader.query(`delete from ${table} where seq = any ($1::text[]::bigint[])`, [
              texts(rows.map(([seq]) => seq as string))
            ])
          done += rows.length
        }
      })
  }
  return transport
})

const broker = (lab: Lab): Effect.Effect<Broker> =>
  Effect.succeed({
    layer: layerWith(PgTransport)({ schema: lab.address.schema }).pipe(
      Layer.provide(Layer.fresh(PgClient.layer({ url: Redacted.make(lab.address.url), maxConnections: 10 })))
    ),
    raw: raw(lab)
  })

export const pgTransportCases = (some: (times: number) => number): ReadonlyArray<Case> =>
  transportCases("postgres transport", broker, some, { place: "postgres", inHand: [100, 16, 1] })
