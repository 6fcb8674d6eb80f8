#!/bin/sh
# tokenizers 0.23.3: `BertWordPieceTokenizer.train` keeps the 1,000 most frequent characters (`limit_alphabet`), however
# large `vocab_size` is. That is plenty for English. Chinese text has several thousand, each of them a word for this
# tokenizer, so the vocabulary stays at 1,005 entries and all other characters are [UNK]. There is no warning; the trainer
# underneath, `WordPieceTrainer`, has no such limit.
# Output seen (Python 3.11):
#   vocab_size=21128: 1005 entries, 2000 of 3000 characters are [UNK]
#   vocab_size=21128, limit_alphabet=6000: 3005 entries, 0 of 3000 characters are [UNK]
. "$(dirname "$0")/common.sh"
in_venv tokenizers==0.23.3
cat >train.py <<'PYTHON'
from tokenizers import BertWordPieceTokenizer

characters = "".join(chr(0x4E00 + number) for number in range(3000))
with open("text", "w", encoding="utf-8") as file:
    for begin in range(0, len(characters), 30):
        file.write((characters[begin : begin + 30] + "\n") * 20)
for flags in ({}, {"limit_alphabet": 6000}):
    tokenizer = BertWordPieceTokenizer()
    tokenizer.train(["text"], vocab_size=21128, show_progress=False, **flags)
    unknown = tokenizer.encode(characters, add_special_tokens=False).tokens.count("[UNK]")
    text = "".join(f", {name}={value}" for name, value in {"vocab_size": 21128, **flags}.items())[2:]
    print(f"{text}: {tokenizer.get_vocab_size()} entries, {unknown} of {len(characters)} characters are [UNK]")
PYTHON
python train.py >seen
expect seen
