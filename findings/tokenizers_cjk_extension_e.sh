#!/bin/sh
# tokenizers 0.23.3: BertNormalizer puts blanks around Chinese characters, but not around the first 256 of CJK
# Extension E (U+2B820 to U+2B91F): its range begins at U+2B920. BERT's own code, and transformers' Python tokenizer,
# begin at U+2B820. A run of such characters becomes one word, which no vocabulary has.
# Output seen (Python 3.11):
#   U+2B81F 'x \U0002b81f x'
#   U+2B820 'x\U0002b820x'
#   U+2B91F 'x\U0002b91fx'
#   U+2B920 'x \U0002b920 x'
. "$(dirname "$0")/common.sh"
in_venv tokenizers==0.23.3
cat >blanks.py <<'PYTHON'
from tokenizers.normalizers import BertNormalizer

normalizer = BertNormalizer(clean_text=False, handle_chinese_chars=True, strip_accents=False, lowercase=False)
for code in (0x2B81F, 0x2B820, 0x2B91F, 0x2B920):
    found = normalizer.normalize_str(f"x{chr(code)}x").replace("  ", " ")
    print(f"U+{code:X} {ascii(found)}")
PYTHON
python blanks.py >seen
expect seen
