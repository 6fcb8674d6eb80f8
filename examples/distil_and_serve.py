"""Distil a classifier into a bag of words, and serve the student over HTTP.

python examples/distil_and_serve.py
"""

from common import ROOT, options, python, resource

import finetune
from finetune.client import ErnieClient

if __name__ == "__main__":
    args = options(__doc__, "distil_and_serve")
    model = args.model or resource("encoder")
    data = args.data or resource("sentiment") / "SST-2"
    common = {"train_set": f"{data}/train.tsv", "dev_set": f"{data}/dev.tsv", "for_cn": False, "num_labels": 2}
    teacher = finetune.train(
        "classify", model=str(model), max_seq_len=64, batch_size=32, learning_rate=1e-4, epoch=args.epoch,
        checkpoints=str(args.out / "teacher"), **common,
    )  # fmt: skip
    text, vocab, served = args.out / "unlabelled.tsv", args.out / "vocab.txt", args.out / "served"
    if not text.exists():
        python("-m", "distill.augment", data / "train.tsv", text, "--copies", 2, "--segmenter", "english")
    python("-m", "distill.label", teacher.folder / "best", text)
    if not vocab.exists():
        python("-m", "distill.vocab", "--output", vocab, data / "train.tsv", text)
    student = finetune.train(
        "student", ernie_config_path=str(ROOT / "config/student/bow.json"), vocab_path=str(vocab),
        tokenizer="WholeWordTokenizer", unlabelled_set=str(text), batch_size=32, learning_rate=1e-3,
        epoch=5 * args.epoch, checkpoints=str(args.out / "student"), **common,
    )  # fmt: skip
    print(f"accuracy: teacher {teacher.scores['acc']:.3f}, student {student.scores['acc']:.3f}")
    python("-m", "finetune.prediction", "--model", student.folder / "best", "--do_prediction", "false",
           "--save_inference_model_path", served, "--overwrite", "true")  # fmt: skip
    from propeller.service import InferenceServer  # here, not above: the server's processes import this file too

    with InferenceServer(served / "best_inference_model", handlers="finetune.serving").listen(0, wait=False) as server:
        print(ErnieClient(server.url).predict(["A warm and funny film."]))
