"""Reading comprehension in Chinese: train on questions over news paragraphs and answer one.

python examples/reading_comprehension.py

The questions are sentences with a name blanked out, and the encoder starts from random weights, so it shows the way,
not a result. Give a released model and CMRC2018 for a result: --model ERNIE_1.0_max-len-512 --data DIR
"""

import json

from common import options, resource

import finetune

if __name__ == "__main__":
    args = options(__doc__, "reading_comprehension", epoch=2)
    model = args.model or resource("random-encoder")
    data = args.data or resource("cloze") / "cmrc2018"
    run = finetune.train(
        "mrc", model=str(model), train_set=f"{data}/train.json", dev_set=f"{data}/dev.json", max_seq_len=192,
        doc_stride=64, max_answer_length=12, batch_size=16, learning_rate=5e-4, epoch=args.epoch,
        checkpoints=str(args.out),
    )  # fmt: skip
    print(f"F1 on held-out questions: {run.scores['f1']:.1f}")
    paragraph = json.loads((data / "dev.json").read_text(encoding="utf-8"))["data"][0]["paragraphs"][0]
    question, context = paragraph["qas"][0]["question"], paragraph["context"]
    (answer,) = finetune.load(run.folder / "best")([(question, context)])
    print(f"{question}\n{answer['answer']}  (expected: {paragraph['qas'][0]['answers'][0]['text']})")
