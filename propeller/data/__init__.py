"""Data sets and feature columns: files to rows to padded batches; no Paddle needed.

from propeller.data import Dataset, FeatureColumns, LabelColumn, TextColumn
columns = FeatureColumns([TextColumn("text", unk_id=0, vocab_file="vocab.txt"), LabelColumn("label")])
train = columns.build_dataset("train", data_dir="data/train", shuffle=True, repeat=True).padded_batch(32)
"""

from propeller.data.columns import Column, FeatureColumns, LabelColumn, TextColumn, TextIDColumn
from propeller.data.dataset import Dataset

__all__ = ["Column", "Dataset", "FeatureColumns", "LabelColumn", "TextColumn", "TextIDColumn"]
