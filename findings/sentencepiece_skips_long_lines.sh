#!/bin/sh
# sentencepiece 0.2.3: a line of over 4,192 bytes is left out of the training (`max_sentence_length`), counted in a line of
# the log among hundreds. In Chinese these are 1,397 characters: text with an article per line trains on its short articles
# alone. A character of a long line is unknown then, although character_coverage=1.0 asks for all of them.
# Output seen (Python 3.11):
#   a line of 1,300 characters: 龘 is known
#   a line of 1,400 characters: 龘 is unknown
#   a line of 1,400 characters, max_sentence_length=100000: 龘 is known
. "$(dirname "$0")/common.sh"
in_venv sentencepiece==0.2.3
cat >lines.py <<'PYTHON'
import sentencepiece


def trained(length, **flags):
    with open("text", "w", encoding="utf8") as file:
        file.write("今天天气很好我们去公园\n" * 50 + "龘" + "中" * (length - 1) + "\n")
    sentencepiece.SentencePieceTrainer.train(
        input="text", model_prefix="model", vocab_size=30, hard_vocab_limit=False, character_coverage=1.0, minloglevel=2,
        **flags,
    )
    model = sentencepiece.SentencePieceProcessor(model_file="model.model")
    return "unknown" if model.unk_id() in model.encode("龘") else "known"


for length, flags in ((1300, {}), (1400, {}), (1400, {"max_sentence_length": 100000})):
    also = "".join(f", {name}={value}" for name, value in flags.items())
    print(f"a line of {length:,} characters{also}: 龘 is {trained(length, **flags)}")
PYTHON
python lines.py >seen
expect seen
