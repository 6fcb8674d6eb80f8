"""Regression, one number an example: STS-B.

python run_classifier.py --is_regression true --num_labels 1 --metric pearson_and_spearman --train_set train.tsv ...
"""

from __future__ import annotations

import paddle.nn.functional as F

from ernie.modeling import Linear
from finetune import metrics
from finetune.task import ENCODER_INPUTS, FinetuneTask, with_qids
from propeller.metrics import Collected
from propeller.train.model import Input


class Regression(FinetuneTask):
    """One number an example, a linear function of the pooled [CLS] vector.

    The parameters are named as a classifier's, with one output: a checkpoint of 2019 holds them so.
    """

    name = "regression"
    head_prefix = ("_cls_out",)
    label_kind = "float"
    handler = "finetune.serving:RegressionHandler"
    inputs = (*ENCODER_INPUTS, Input("labels", [None, 1], "float32", label=True))

    def __init__(self, config, head, mode, optimizer=None):
        super().__init__(config, head, mode, optimizer)
        self.cls_out = Linear(config, config.hidden_size, 1, weight_name="_cls_out_w", bias_name="_cls_out_b")

    def forward(self, features):
        """-> ``logits``, float32 [batch, 1]: the predicted numbers."""
        pooled = self.encoder.pool(self.encoder(features))  # [batch, hidden]
        return {"logits": self.cls_out(F.dropout(pooled, self.head.dropout, training=self.training))}

    def loss(self, predictions, label):
        """Mean squared error."""
        return F.mse_loss(predictions["logits"], label["labels"])

    def metrics(self, predictions, label):
        """None while training, as in 2019; the correlations in evaluation."""
        if self.training_mode:
            return {}
        compute = metrics.METRICS[self.head.metric].compute
        return {"scores": Collected([predictions["logits"], label["labels"]], compute)}

    @classmethod
    def best_by(cls, head):
        return metrics.METRICS[head.metric].best_by

    @classmethod
    def evaluation_line(cls, head, scores, elapsed):
        """The line of 2019, with the true loss: what 2019 wrote there was always 0."""
        text = metrics.METRICS[head.metric].text.format(**scores)
        return f"ave loss: {scores['loss']:f}, {text}, elapsed time: {elapsed:f} s"

    @classmethod
    def prediction_lines(cls, outputs, batch):
        """The 2019 lines: the number in full, a tab, the number as numpy prints a float32 array of one."""
        lines = [f"{float(row[0])}\t{row}" for row in outputs["logits"]]
        return with_qids(lines, batch)
