"""Pre-training shards to masked batches."""
