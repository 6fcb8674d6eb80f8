"""Files of tagged sentences to batches, and tag sets to entities."""
