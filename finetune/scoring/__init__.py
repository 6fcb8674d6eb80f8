"""Scores of prediction files, whoever made them: the forms of file, and a module per kind of task. Never Paddle."""
