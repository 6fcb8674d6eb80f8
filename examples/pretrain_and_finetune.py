"""Pre-train an encoder on raw Chinese reviews, then fine-tune it on labelled ones.

python examples/pretrain_and_finetune.py

Do not report scores on this data: most of ChnSentiCorp's dev set is among the reviews.
"""

from common import ROOT, options, python, resource

import finetune

if __name__ == "__main__":
    args = options(__doc__, "pretrain_and_finetune", steps=400)
    data = args.data or resource("reviews") / "chnsenticorp"
    header, *rows = (data / "train.tsv").read_text(encoding="utf-8").splitlines()
    column = header.split("\t").index("text_a")
    args.out.mkdir(parents=True, exist_ok=True)
    corpus, vocab, shards = args.out / "corpus.txt", args.out / "vocab.txt", args.out / "shards"
    corpus.write_text("\n\n".join(row.split("\t")[column] for row in rows) + "\n", encoding="utf-8")
    if not vocab.exists():
        python("-m", "pretrain.build_vocab", "--input", corpus, "--output", vocab, "--size", 4000, "--min_count", 1)
    python("-m", "pretrain.build_data", "--input", corpus, "--output", shards, "--vocab_path", vocab,
           "--segmenter", "char", "--max_seq_len", 64, "--num_workers", 0)  # fmt: skip
    config = args.model / "ernie_config.json" if args.model else ROOT / "config/ernie_mini_zh.json"
    python("train.py", "--ernie_config_path", config, "--vocab_path", vocab, "--checkpoints", args.out / "pretrained",
           "--train_filelist", shards / "filelist", "--batch_size", 16, "--max_seq_len", 64, "--learning_rate", 1e-3,
           "--num_train_steps", args.steps, "--warmup_steps", args.steps // 10)  # fmt: skip
    run = finetune.train(
        "classify", model=str(args.out / "pretrained"), train_set=f"{data}/train.tsv", dev_set=f"{data}/dev.tsv",
        num_labels=2, max_seq_len=64, batch_size=32, learning_rate=5e-4, epoch=args.epoch,
        checkpoints=str(args.out / "finetuned"),
    )  # fmt: skip
    print(f"accuracy on held-out reviews: {run.scores['acc']:.3f}")
    print(finetune.load(run.folder / "best")(["房间很干净，服务也好。"])[0])
