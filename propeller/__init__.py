"""propeller, the engine: knows Paddle, knows nothing of ERNIE or of text."""
