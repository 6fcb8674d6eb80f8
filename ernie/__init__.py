"""The ERNIE network and what belongs to its weights."""
