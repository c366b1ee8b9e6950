"""The record log on Apache Kafka 4 (engines `kafka:` on kafka-python, `kafka+librdkafka:` on confluent-kafka).

| in Kafka | holds |
|---|---|
| `PREFIX.log.TOPIC` | the records: key = subject tag, value = Confluent frame, headers `id`, `time`, `seal` |
| `PREFIX.in.DATASET` | what a dataset's department sends by its own producer: `exchange.log.kafka.intake` |
| `PREFIX.control` | the control events again, as CloudEvents: `exchange.log.kafka.control` |
| `PREFIX.marks` | compacted; key = source, value = its mark in decimal digits |

`exchange.log.kafka.log` says how appends and reads keep the promises of `RecordLog`.
"""
