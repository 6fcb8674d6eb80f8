"""Embeddings are not trained and have no flags of a task; this file is read in place of the task, without Paddle."""

FLAGS = None
ABOUT = "vectors of an encoder, which is not trained (ernie_encoder.py)"
