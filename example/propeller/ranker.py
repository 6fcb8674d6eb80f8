"""Rank answers to questions: rows of ``qid<TAB>title<TAB>comment<TAB>label``, label 1 for a right answer.

    D=example/propeller/data
    python example/propeller/ranker.py --data_dir $D/ranker --vocab_file $D/vocab.txt \
        --run_config '{"model_dir": "output/ranker", "max_steps": 300, "eval_steps": 100}'
    python example/propeller/ranker.py --do_predict --vocab_file $D/vocab.txt < $D/ranker/dev/part-0 \
        --run_config '{"model_dir": "output/ranker"}'

Training reports ``acc``, ``f1`` and ``mrr``; prediction prints ``qid label p0 p1`` per line of standard input.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import propeller.paddle as propeller
from propeller import runtime
from propeller.data import FeatureColumns, LabelColumn, TextColumn
from propeller.data.columns import read_vocab
from propeller.errors import exit_on_user_error
from propeller.log import setup
from propeller.utils import data as tools


def columns_of(vocab):
    tokenizer = tools.CharTokenizer(vocab)
    texts = [TextColumn(n, unk_id=vocab["[UNK]"], vocab_dict=vocab, tokenizer=tokenizer) for n in ("title", "comment")]
    return FeatureColumns([LabelColumn("qid"), *texts, LabelColumn("label")])


def model_class():
    import paddle
    from network import Encoder, adam

    class Ranker(propeller.Model):
        """Compares the means of both texts; what it gives beside the classes' scores is the question's number."""

        def __init__(self, config, mode, run_config):
            super().__init__(config, mode, run_config)
            width = config.get("width", 64)
            self.encoder = Encoder(config.vocab_size, width)
            self.hidden = paddle.nn.Linear(4 * width, width)
            self.out = paddle.nn.Linear(width, 2)

        def forward(self, features):
            qid, title, comment = features[:3]
            a, b = self.encoder.mean(title), self.encoder.mean(comment)
            compared = paddle.concat([a, b, a * b, paddle.abs(a - b)], axis=-1)
            logits = self.out(paddle.nn.functional.relu(self.hidden(compared)))
            if self.mode is propeller.RunMode.PREDICT:  # here the label is one of the features
                return [qid + 0, features[3] + 0, paddle.nn.functional.softmax(logits)]
            return [logits, qid]

        def loss(self, predictions, label):
            return paddle.nn.functional.cross_entropy(predictions[0], label)

        def backward(self, loss):
            return adam(self.config)

        def metrics(self, predictions, label):
            logits, qid = predictions
            right = paddle.nn.functional.softmax(logits)[:, 1]
            return {
                "acc": propeller.metrics.Acc(label, logits.argmax(axis=-1)),
                "f1": propeller.metrics.F1(label, logits.argmax(axis=-1)),
                "mrr": propeller.metrics.Mrr(qid, label, right),
            }

    return Ranker


def main():
    parser = propeller.ArgumentParser("ranker")
    parser.add_argument("--data_dir", help="folders train and dev")
    parser.add_argument("--vocab_file", required=True, help="one token per line")
    parser.add_argument("--do_predict", action="store_true", help="score the lines of standard input")
    args = parser.parse_args()
    params, run_config = propeller.parse_hparam(args), propeller.parse_runconfig(args)
    vocab = read_vocab(args.vocab_file)
    params.join({"vocab_size": max(vocab.values()) + 1})
    columns, size = columns_of(vocab), params.get("batch_size", 32)
    runtime.prepare()
    setup()
    if args.do_predict:
        rows = columns.build_dataset_from_stdin("predict").padded_batch(size)
        for qid, label, (p0, p1) in propeller.Learner(model_class(), run_config, params).predict(rows, ckpt="best"):
            print(f"{qid}\t{label}\t{p0:.5f}\t{p1:.5f}", flush=True)
        return

    def dataset(name, **options):
        return columns.build_dataset(name, data_dir=f"{args.data_dir}/{name}", **options).padded_batch(size)

    results = propeller.train_and_eval(
        model_class_or_model_fn=model_class(),
        params=params,
        run_config=run_config._replace(best_by="mrr"),
        train_dataset=dataset("train", shuffle=True, repeat=True, shard=True),
        eval_dataset={"dev": dataset("dev")},
    )
    for name, value in results.get("dev", {}).items():
        print(f"dev_{name}\t{value:.4f}")


if __name__ == "__main__":
    exit_on_user_error(main)
