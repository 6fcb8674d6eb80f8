"""Pre-training: from raw text to shards (`python -m pretrain.build_data`), and what is learnt from them.

The data side (build_data, build_vocab, inspect and what they import) never imports Paddle.
"""
