#!/usr/bin/env bash
# A Date in the headers of a message arrives as an empty table, by either JavaScript client of AMQP 0-9-1.
#
# Software: amqplib 2.3.1, rabbitmq-client 5.0.8; RabbitMQ 3.10.8, which must be there (the Debian package rabbitmq-server).
# Input:    headers with a Date, a bigint, bytes, and a time in the form in which amqplib reads one; each written and read by each client.
# Guess:    AMQP has a type for times, for integers of 64 bits and for bytes, and a value is written as that or refused. At worst a Date is text, as in JSON.
# Seen:     a Date is taken for an object without properties, and nothing of it is sent; there is no error. rabbitmq-client takes a bigint too, and
#           either client reads another number; it sends bytes as a table; and what amqplib has for a time, it sends as a table that amqplib
#           reads as if it were a time, though it is none.
set -euo pipefail
folder=$(mktemp -d)
server=
port=$((20000 + RANDOM % 10000))
epmd=$((port + 1))
trap '[ -z "$server" ] || { kill -- "-$server"; while kill -0 -- "-$server"; do sleep 0.2; done; } 2>/dev/null || true; epmd -port "$epmd" -kill >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 amqplib@2.3.1 rabbitmq-client@5.0.8
echo "[]." >plugins
export HOME="$folder" ERL_EPMD_PORT=$epmd ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_NODENAME="finding-$port@localhost" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 \
  RABBITMQ_NODE_PORT=$port RABBITMQ_DIST_PORT=$((port + 2)) RABBITMQ_MNESIA_BASE="$folder/data" RABBITMQ_LOG_BASE="$folder/log" \
  RABBITMQ_CONF_ENV_FILE="$folder/none" RABBITMQ_CONFIG_FILE="$folder/none" RABBITMQ_ENABLED_PLUGINS_FILE="$folder/plugins"
# The program that the package calls as a user of its own.
setsid "$(dpkg -L rabbitmq-server | grep '/bin/rabbitmq-server$')" >server.txt 2>&1 &
server=$!
cat >run.mjs <<'JS'
import { connect } from "amqplib"
import { Connection } from "rabbitmq-client"
import { setTimeout } from "node:timers/promises"
import { inspect } from "node:util"

const url = `amqp://guest:guest@127.0.0.1:${process.env.RABBITMQ_NODE_PORT}`
const connected = async () => {
  for (let tries = 0; ; tries++) {
    try {
      return await connect(url)
    } catch (error) {
      if (tries === 120) throw error
      await setTimeout(500)
    }
  }
}
const connection = await connected()
console.log("RabbitMQ", connection.connection.serverProperties.version)
const channel = await connection.createConfirmChannel()
const client = new Connection(url)
const publisher = client.createPublisher({ confirm: true })
await channel.assertQueue("events", { durable: false })

const clients = {
  amqplib: {
    write: async (headers) => {
      channel.sendToQueue("events", Buffer.from(""), { headers })
      await channel.waitForConfirms()
    },
    read: async () => (await channel.get("events", { noAck: true })).properties.headers
  },
  "rabbitmq-client": {
    write: (headers) => publisher.send({ routingKey: "events", headers }, Buffer.from("")),
    read: async () => (await client.basicGet({ queue: "events", noAck: true })).headers
  }
}
const values = {
  "a Date": new Date("2026-01-01T00:00:00Z"),
  "a time as amqplib has it": { "!": "timestamp", value: 1767225600 },
  "a bigint": 1152921504606846977n,
  bytes: Buffer.from([1, 2])
}
for (const [said, value] of Object.entries(values)) {
  for (const [writer, { write }] of Object.entries(clients)) {
    const seen = []
    for (const [reader, { read }] of Object.entries(clients)) {
      try {
        await write({ value })
        seen.push(`${reader} reads ${inspect((await read()).value, { breakLength: Infinity })}`)
      } catch (error) {
        seen.push(error.message)
      }
    }
    console.log(`${said}, by ${writer}: ${[...new Set(seen)].join(", ")}`)
  }
}
await publisher.close()
await client.close()
await connection.close()
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
RabbitMQ 3.10.8
a Date, by amqplib: amqplib reads {}, rabbitmq-client reads {}
a Date, by rabbitmq-client: amqplib reads {}, rabbitmq-client reads {}
a time as amqplib has it, by amqplib: amqplib reads { '!': 'timestamp', value: 1767225600 }, rabbitmq-client reads 1767225600
a time as amqplib has it, by rabbitmq-client: amqplib reads { '!': 'timestamp', value: 1767225600 }, rabbitmq-client reads { '!': 'timestamp', value: 1767225600 }
a bigint, by amqplib: Unknown type to encode: bigint
a bigint, by rabbitmq-client: amqplib reads 1152921504606847000, rabbitmq-client reads 1152921504606847000
bytes, by amqplib: amqplib reads <Buffer 01 02>, rabbitmq-client reads <Buffer 01 02>
bytes, by rabbitmq-client: amqplib reads { '0': 1, '1': 2 }, rabbitmq-client reads { '0': 1, '1': 2 }
SEEN
echo "as described"
