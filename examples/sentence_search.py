"""Sentence search: embed film-review sentences and find those that mean nearly the same as a question.

python examples/sentence_search.py
"""

from common import options, resource

import finetune

if __name__ == "__main__":
    args = options(__doc__, "sentence_search")
    model = args.model or resource("encoder")
    data = args.data or resource("sentiment") / "SST-2"
    header, *rows = (data / "dev.tsv").read_text(encoding="utf-8").splitlines()
    texts = [row.split("\t")[header.split("\t").index("text_a")] for row in rows]
    encoder = finetune.load(model)
    vectors = encoder.embed(texts, normalize=True)  # [texts, hidden], pooled as the model was trained
    for question in ("The actors are wonderful.", "The story makes no sense."):
        print(question)
        cosines = vectors @ encoder.embed([question], normalize=True)[0]
        for number in cosines.argsort()[::-1][:3]:
            print(f"  {cosines[number]:.2f}  {texts[number]}")
