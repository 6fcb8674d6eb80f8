"""Files -> examples -> named, padded numpy batches. Nothing here imports Paddle."""
