"""Classify titles: one class per row of ``title<TAB>label``.

    D=example/propeller/data
    python example/propeller/classifier.py --data_dir $D/classifier --vocab_file $D/vocab.txt \
        --run_config '{"model_dir": "output/classifier", "max_steps": 200, "eval_steps": 50}' --hparam '{"classes": 2}'
    cut -f1 $D/classifier/test/part-0 | python example/propeller/classifier.py --do_predict --vocab_file $D/vocab.txt \
        --run_config '{"model_dir": "output/classifier"}' --hparam '{"classes": 2}'

Training prints ``dev_acc`` of the best evaluation; prediction prints the class of each line of standard input.
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
    title = TextColumn("title", unk_id=vocab["[UNK]"], vocab_dict=vocab, tokenizer=tokenizer)
    return FeatureColumns([title, LabelColumn("label")])


def batches(dataset, vocab, params):
    """Rows of (title ids[, label]) to padded batches."""

    def assembled(title, *label):
        ids, _ = tools.build_1_pair(title, params.get("max_seqlen", 64), vocab["[CLS]"], vocab["[SEP]"])
        return (ids, *label)

    return dataset.map(assembled).padded_batch(params.get("batch_size", 32))


def model_class():
    import paddle
    from network import Encoder, adam

    class Classifier(propeller.Model):
        def __init__(self, config, mode, run_config):
            super().__init__(config, mode, run_config)
            self.encoder = Encoder(config.vocab_size, config.get("width", 64))
            self.dropout = paddle.nn.Dropout(0.1)
            self.out = paddle.nn.Linear(config.get("width", 64), config.classes)

        def forward(self, features):
            logits = self.out(self.dropout(self.encoder.mean(features[0])))
            if self.mode is propeller.RunMode.PREDICT:
                return paddle.nn.functional.softmax(logits)
            return logits

        def loss(self, predictions, label):
            return paddle.nn.functional.cross_entropy(predictions, label)

        def backward(self, loss):
            return adam(self.config)

        def metrics(self, predictions, label):
            return {"acc": propeller.metrics.Acc(label, predictions.argmax(axis=-1))}

    return Classifier


def main():
    parser = propeller.ArgumentParser("classifier")
    parser.add_argument("--data_dir", help="folders train and dev")
    parser.add_argument("--vocab_file", required=True, help="one token per line")
    parser.add_argument("--do_predict", action="store_true", help="classify the lines of standard input")
    args = parser.parse_args()
    params, run_config = propeller.parse_hparam(args), propeller.parse_runconfig(args)
    vocab = read_vocab(args.vocab_file)
    params.join({"vocab_size": max(vocab.values()) + 1})
    columns = columns_of(vocab)
    runtime.prepare()
    setup()
    if args.do_predict:
        rows = columns.build_dataset_from_stdin("predict").map(lambda title, *label: (title,))
        learner = propeller.Learner(model_class(), run_config, params)
        for (probabilities,) in learner.predict(batches(rows, vocab, params), ckpt="best"):
            print(max(range(len(probabilities)), key=probabilities.__getitem__), flush=True)
        return

    def dataset(name, **options):
        rows = columns.build_dataset(name, data_dir=f"{args.data_dir}/{name}", **options)
        return batches(rows, vocab, params)

    def better(old, new):
        return new["eval"]["acc"] > old["eval"]["acc"]

    best = propeller.train.exporter.BestInferenceModelExporter(Path(run_config.model_dir) / "export", better)
    propeller.train_and_eval(
        model_class_or_model_fn=model_class(),
        params=params,
        run_config=run_config._replace(best_by="acc"),
        train_dataset=dataset("train", shuffle=True, repeat=True, shard=True),
        eval_dataset=dataset("dev"),
        exporters=[best],
    )
    if propeller.status.is_master:
        print(f"dev_acc\t{best.best['eval']['acc']:.4f}")


if __name__ == "__main__":
    exit_on_user_error(main)
