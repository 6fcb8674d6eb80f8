"""Extractive reading comprehension: the answer to a question as a span of its context."""
