"""The Kafka connector: `hec-kafka-sink`."""
