"""Sentence and token embeddings of an encoder."""
