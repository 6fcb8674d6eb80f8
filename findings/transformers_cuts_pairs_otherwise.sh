#!/bin/sh
# transformers 4.57.6: where both texts of a pair are cut and an odd number of places is left for them, `BertTokenizer`
# gives the place that is over to the first text, as BERT's own code did, and `BertTokenizerFast` to the second. An even
# `max_length` less [CLS], [SEP] and [SEP] is odd: with 128 every such pair has other ids. `BertTokenizer` of
# transformers 5 is the fast one, so an update changes what a trained model reads, without a word.
# Output seen (Python 3.11, tokenizers 0.22.2):
#   10, slow: [CLS] a1 a2 a3 a4 [SEP] b1 b2 b3 [SEP]
#   10, fast: [CLS] a1 a2 a3 [SEP] b1 b2 b3 b4 [SEP]
#   11, slow: [CLS] a1 a2 a3 a4 [SEP] b1 b2 b3 b4 [SEP]
#   11, fast: [CLS] a1 a2 a3 a4 [SEP] b1 b2 b3 b4 [SEP]
. "$(dirname "$0")/common.sh"
in_venv transformers==4.57.6 tokenizers==0.22.2
cat >pairs.py <<'PYTHON'
from transformers import BertTokenizer, BertTokenizerFast

first, second = ([f"{letter}{number}" for number in range(1, 9)] for letter in "ab")
with open("vocab.txt", "w") as file:
    file.writelines(f"{token}\n" for token in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *first, *second])
for length in (10, 11):
    for name, kind in (("slow", BertTokenizer), ("fast", BertTokenizerFast)):
        tokenizer = kind("vocab.txt")
        ids = tokenizer(" ".join(first), " ".join(second), truncation=True, max_length=length)["input_ids"]
        print(f"{length}, {name}: {' '.join(tokenizer.convert_ids_to_tokens(ids))}")
PYTHON
python pairs.py >seen 2>log || { cat log; exit 1; }
expect seen
