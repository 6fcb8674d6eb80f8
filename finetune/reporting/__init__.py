"""Reports of an evaluation that a person can act on: by class, by row, by length."""
