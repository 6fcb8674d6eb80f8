"""Programs of the engine."""
