"""Single-label classification of texts and pairs, answer ranking, and regression."""
