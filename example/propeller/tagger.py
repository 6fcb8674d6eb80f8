"""Tag persons, places and organisations: rows of tokens, a tab and tags, both joined by the byte 0x02.

    D=example/propeller/data
    python example/propeller/tagger.py --data_dir $D/tagger --vocab_file $D/vocab.txt \
        --run_config '{"model_dir": "output/tagger", "max_steps": 200, "eval_steps": 50}'
    cut -f1 $D/tagger/test/part-0 | python example/propeller/tagger.py --do_predict --vocab_file $D/vocab.txt \
        --run_config '{"model_dir": "output/tagger"}'

``data_dir`` has folders train, dev and test. Training prints the F1 of entities on dev and test where dev is best.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

import propeller.paddle as propeller
from propeller import runtime
from propeller.data import FeatureColumns, TextColumn
from propeller.data.columns import read_vocab
from propeller.errors import UserError, exit_on_user_error
from propeller.log import setup

TAGS = ["B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "O"]
OUTSIDE = len(TAGS) - 1


def parts(text):
    return text.split(b"\x02")


def columns_of(vocab):
    tags = {tag: i for i, tag in enumerate(TAGS)}
    tokens = TextColumn("tokens", unk_id=vocab["[UNK]"], vocab_dict=vocab, tokenizer=parts)
    return FeatureColumns([tokens, TextColumn("tags", unk_id=-1, vocab_dict=tags, tokenizer=parts)])


def batches(dataset, vocab, params):
    """Rows to padded batches of [CLS] tokens [SEP], their number, and tags; the special tokens are outside."""
    room = params.get("max_seqlen", 64) - 2

    def assembled(tokens, *tags):
        tokens = tokens[:room]
        ids = np.concatenate([[vocab["[CLS]"]], tokens, [vocab["[SEP]"]]]).astype(np.int64)
        if not tags:
            return ids, len(ids)
        (tags,) = tags
        if (tags < 0).any() or len(tags[:room]) != len(tokens):
            raise UserError(f"a row of {len(tokens)} tokens and {len(tags)} tags: give one of {TAGS} per token")
        return ids, len(ids), np.concatenate([[OUTSIDE], tags[:room], [OUTSIDE]]).astype(np.int64)

    return dataset.map(assembled).padded_batch(params.get("batch_size", 16))


def model_class():
    import paddle
    from network import Encoder, adam

    class Tagger(propeller.Model):
        def __init__(self, config, mode, run_config):
            super().__init__(config, mode, run_config)
            self.encoder = Encoder(config.vocab_size, config.get("width", 64))
            self.out = paddle.nn.Linear(config.get("width", 64), len(TAGS))

        def forward(self, features):
            ids, lengths = features
            logits = self.out(self.encoder(ids))
            if self.mode is propeller.RunMode.PREDICT:
                return [logits.argmax(axis=-1), lengths + 0]
            return [logits, ids, lengths]

        def loss(self, predictions, label):
            logits, ids, _ = predictions
            losses = paddle.nn.functional.cross_entropy(logits, label, reduction="none").squeeze(-1)
            mask = (ids > 0).astype("float32")  # 1 where there is a token
            return (losses * mask).sum() / mask.sum()

        def backward(self, loss):
            return adam(self.config)

        def metrics(self, predictions, label):
            logits, _, lengths = predictions
            return {"f1": propeller.metrics.ChunkF1(label, logits.argmax(axis=-1), lengths, len(TAGS))}

    return Tagger


def main():
    parser = propeller.ArgumentParser("tagger")
    parser.add_argument("--data_dir", help="folders train, dev and test")
    parser.add_argument("--vocab_file", required=True, help="one token per line")
    parser.add_argument("--do_predict", action="store_true", help="tag the lines of standard input")
    args = parser.parse_args()
    params, run_config = propeller.parse_hparam(args), propeller.parse_runconfig(args)
    vocab = read_vocab(args.vocab_file)
    params.join({"vocab_size": max(vocab.values()) + 1})
    columns = columns_of(vocab)
    runtime.prepare()
    setup()
    if args.do_predict:
        rows = columns.build_dataset_from_stdin("predict").map(lambda tokens, *tags: (tokens,))
        learner = propeller.Learner(model_class(), run_config, params)
        for tags, length in learner.predict(batches(rows, vocab, params), ckpt="best"):
            print(" ".join(TAGS[tag] for tag in tags[1 : length - 1]), flush=True)
        return

    def dataset(name, **options):
        rows = columns.build_dataset(name, data_dir=f"{args.data_dir}/{name}", **options)
        return batches(rows, vocab, params)

    def better(old, new):
        return new["dev"]["f1"] > old["dev"]["f1"]

    best = propeller.train.exporter.BestExporter(Path(run_config.model_dir) / "best_weights", better)
    propeller.train_and_eval(
        model_class_or_model_fn=model_class(),
        params=params,
        run_config=run_config._replace(best_by="f1"),
        train_dataset=dataset("train", shuffle=True, repeat=True, shard=True),
        eval_dataset={"dev": dataset("dev"), "test": dataset("test")},
        exporters=[best],
    )
    if propeller.status.is_master:
        print(f"dev_f1\t{best.best['dev']['f1']:.4f}\ntest_f1\t{best.best['test']['f1']:.4f}")


if __name__ == "__main__":
    exit_on_user_error(main)
