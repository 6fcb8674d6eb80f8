"""Training an encoder for sentence vectors: flags, losses, the task."""
