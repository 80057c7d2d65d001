#!/usr/bin/env bash
# @platformatic/kafka puts half of the keys on another partition than kafkajs and the Java client do, unless the number of partitions is a power of two.
#
# Software: @platformatic/kafka 2.12.1, kafkajs 2.2.4 (its DefaultPartitioner, which is that of the Java client).
# Input:    a thousand keys, the partitioners that both use when one says nothing, topics with several numbers of partitions.
# Guess:    both hash the key by murmur2, so the same key is on the same partition, and what holds for one number of partitions holds for all.
# Seen:     with 2, 4, 8, 16 or 32 partitions all keys agree; with any other number about half of them do. One takes the hash as an unsigned
#           number, the other without its highest bit, and the remainder is the same only if 2^31 is a multiple of the number of partitions.
#           Two producers of one topic break the order of a key so, and a test with a topic of eight partitions does not show it.
#           The compatibilityPartitioner of the package agrees always; it is not the one that is used by itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 @platformatic/kafka@2.12.1 kafkajs@2.2.4
cat >run.mjs <<'JS'
import { compatibilityPartitioner, defaultPartitioner } from "@platformatic/kafka"
import kafkajs from "kafkajs"

const keys = Array.from({ length: 1000 }, (_, n) => Buffer.from(`order-${n}`))
const topic = "orders"
const partitioner = kafkajs.Partitioners.DefaultPartitioner()
for (const count of [2, 3, 4, 6, 8, 10, 12, 16, 24, 32, 50]) {
  const partitionMetadata = Array.from({ length: count }, (_, partitionId) => ({ partitionId, leader: 1 }))
  // The producer of @platformatic/kafka takes the remainder of what a partitioner gives.
  const agree = (other) =>
    keys.filter((key) => other({ topic, key }, key) % count === partitioner({ topic, partitionMetadata, message: { key } })).length
  console.log(`${count} partitions: ${agree(defaultPartitioner)} of ${keys.length} keys agree, ${agree(compatibilityPartitioner)} with the other partitioner`)
}
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
2 partitions: 1000 of 1000 keys agree, 1000 with the other partitioner
3 partitions: 501 of 1000 keys agree, 1000 with the other partitioner
4 partitions: 1000 of 1000 keys agree, 1000 with the other partitioner
6 partitions: 501 of 1000 keys agree, 1000 with the other partitioner
8 partitions: 1000 of 1000 keys agree, 1000 with the other partitioner
10 partitions: 501 of 1000 keys agree, 1000 with the other partitioner
12 partitions: 501 of 1000 keys agree, 1000 with the other partitioner
16 partitions: 1000 of 1000 keys agree, 1000 with the other partitioner
24 partitions: 501 of 1000 keys agree, 1000 with the other partitioner
32 partitions: 1000 of 1000 keys agree, 1000 with the other partitioner
50 partitions: 501 of 1000 keys agree, 1000 with the other partitioner
SEEN
echo "as described"
