"""Sentiment of English film reviews: fine-tune a small encoder and label new sentences.

python examples/sentiment.py
"""

from common import options, resource

import finetune

if __name__ == "__main__":
    args = options(__doc__, "sentiment")
    model = args.model or resource("encoder")
    data = args.data or resource("sentiment") / "SST-2"
    run = finetune.train(
        "classify", model=str(model), train_set=f"{data}/train.tsv", dev_set=f"{data}/dev.tsv", for_cn=False,
        max_seq_len=64, batch_size=32, learning_rate=1e-4, epoch=args.epoch, checkpoints=str(args.out),
    )  # fmt: skip
    print(f"accuracy on held-out sentences: {run.scores['acc']:.3f}")
    sentences = ["A warm and funny film.", "Two hours of shouting.", "Not a single dull moment."]
    for sentence, answer in zip(sentences, finetune.load(run.folder / "best")(sentences)):
        share = answer["probabilities"][str(answer["label"])]
        print(f"{['negative', 'positive'][int(answer['label'])]}  {share:.2f}  {sentence}")
