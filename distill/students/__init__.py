"""Students of classes and numbers: their networks, tasks and flags."""
