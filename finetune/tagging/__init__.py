"""Sequence labelling: one tag per token, and the entities that tags make."""
