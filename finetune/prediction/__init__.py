"""Prediction with a fine-tuned model: batch files, printed lines, exported inference models."""
