"""The training engine: program building, the one loop, hooks, checkpoints."""
