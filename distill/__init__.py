"""Distillation: a small, fast student learns from a fine-tuned ERNIE (after arXiv 1712.04440 and 1903.12136).

python -m distill.augment train.tsv unlabelled.tsv --copies 10      # more text, of the training set alone
python -m distill.label TEACHER unlabelled.tsv                      # the teacher's logits of it, once
python -m finetune student --unlabelled_set unlabelled.tsv ...      # the student learns from both
"""
