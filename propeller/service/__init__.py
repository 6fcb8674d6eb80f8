"""Serving arrays: a predictor over a bundle, and what runs it behind a port."""
