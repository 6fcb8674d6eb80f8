"""What an encoder reads of a batch: the inputs that every task begins with."""

from __future__ import annotations

from propeller.train.model import Input

ENCODER_INPUTS = (
    Input("src_ids", [None, None], "int64"),
    Input("sent_ids", [None, None], "int64"),
    Input("pos_ids", [None, None], "int64"),
    Input("task_ids", [None, None], "int64"),
    Input("input_mask", [None, None], "float32"),
)
