"""From raw text to shards: documents, sentences, words, instances. Nothing here imports Paddle."""
