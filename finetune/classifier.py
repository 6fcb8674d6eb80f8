"""Single-sentence and sentence-pair classification, answer ranking: GLUE, XNLI, ChnSentiCorp, LCQMC, BQ, DBQA.

python run_classifier.py --train_set sst2/train.tsv --dev_set sst2/dev.tsv --num_labels 2 ...
"""

from __future__ import annotations

import sys

import numpy as np
import paddle.nn.functional as F

from ernie.modeling import Linear
from finetune import metrics, task_class
from finetune.task import ENCODER_INPUTS, FinetuneTask, with_qids
from propeller.errors import UserError
from propeller.metrics import Collected
from propeller.train.model import Input


class Classifier(FinetuneTask):
    """One label an example: softmax over the pooled [CLS] vector."""

    name = "classify"
    head_prefix = ("_cls_out",)
    handler = "finetune.serving:ClassifyHandler"
    inputs = (*ENCODER_INPUTS, Input("labels", [None, 1], "int64", label=True))

    def __init__(self, config, head, mode, optimizer=None):
        super().__init__(config, head, mode, optimizer)
        self.cls_out = Linear(
            config, config.hidden_size, head.num_labels, weight_name="_cls_out_w", bias_name="_cls_out_b"
        )

    def forward(self, features):
        """-> ``logits`` and ``probs``, float32 [batch, num_labels]."""
        pooled = self.encoder.pool(self.encoder(features))  # [batch, hidden]
        logits = self.cls_out(F.dropout(pooled, self.head.dropout, training=self.training))
        return {"logits": logits, "probs": F.softmax(logits)}

    def loss(self, predictions, label):
        """Mean cross entropy."""
        return F.cross_entropy(predictions["logits"], label["labels"])

    def metrics(self, predictions, label):
        """Accuracy while training, as the log has it; the chosen metric in evaluation."""
        compute = metrics.simple_accuracy if self.training_mode else metrics.METRICS[self.head.metric].compute
        return {"scores": Collected([predictions["probs"], label["labels"]], compute)}

    @classmethod
    def variant(cls, args):
        """Regression by its flag, ranking by its metric."""
        if args.model.is_regression:
            return task_class("regression")
        return RankingClassifier if args.model.metric in metrics.RANKING else cls

    @classmethod
    def best_by(cls, head):
        return metrics.METRICS[head.metric].best_by

    @classmethod
    def evaluation_line(cls, head, scores, elapsed):
        text = metrics.METRICS[head.metric].text.format(**scores)
        return f"ave loss: {scores['loss']:f}, {text}, data_num: {scores['data_num']:d}, elapsed time: {elapsed:f} s"

    @classmethod
    def training_line(cls, record):
        return f"{super().training_line(record)}, ave acc: {record['acc']:f}"

    @classmethod
    def prediction_lines(cls, outputs, batch):
        """The 2019 lines: the predicted class as a float, a tab, the probabilities as numpy prints them.

        numpy of 2019 broke long rows of numbers over several lines; here a row stays one line.
        """
        probs = outputs["probs"]
        with np.printoptions(linewidth=sys.maxsize, threshold=sys.maxsize):
            rows = [str(row) for row in probs]
        lines = [f"{float(label)}\t{row}" for label, row in zip(probs.argmax(axis=1), rows)]
        return with_qids(lines, batch)


class RankingClassifier(Classifier):
    """A classifier of (question, answer) rows whose score ranks the answers of a question, which ``qid`` names."""

    def __init__(self, config, head, mode, optimizer=None):
        super().__init__(config, head, mode, optimizer)
        if not self.training_mode:  # training needs no qid; prediction is fed no labels
            self.inputs = (*self.inputs, Input("qids", [None, 1], "int64", label=True))

    def metrics(self, predictions, label):
        """Accuracy while training; accuracy, F1, MRR and MAP in evaluation."""
        if self.training_mode:
            return super().metrics(predictions, label)
        compute = metrics.METRICS[self.head.metric].compute
        return {"scores": Collected([predictions["probs"], label["labels"], label["qids"]], compute)}

    @classmethod
    def open_reader(cls, path, tokenizer, args, label_map, training=False, labelled=True):
        reader = super().open_reader(path, tokenizer, args, label_map, training, labelled)
        if labelled and not training and "qid" not in reader.table.columns:
            raise UserError(
                f"{path}, line 1: --metric {args.model.metric} needs the column 'qid', the number of each row's "
                f"question (there: {', '.join(reader.table.columns)}); add it or choose another metric"
            )
        return reader
