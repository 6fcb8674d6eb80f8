#!/bin/sh
# opencc-python-reimplemented 0.1.7 and OpenCC 1.4.2 install the same module, `opencc`, and convert Taiwan's text
# differently: with `tw2s` the Python rewriting makes 擡 of 抬, a character that simplified text does not have. Neither
# knows with `t2s` that 著 stands for 着 in 隨著. Whichever was installed last answers `import opencc`, and only one of
# them has `opencc.__version__`.
# Output seen (Python 3.11):
#   reimplemented: t2s 随著, tw2s 随着, tw2s 擡头
#   OpenCC: t2s 随著, tw2s 随着, tw2s 抬头
. "$(dirname "$0")/common.sh"
in_venv opencc-python-reimplemented==0.1.7
cat >convert.py <<'PYTHON'
import sys
from opencc import OpenCC

t2s, tw2s = OpenCC("t2s"), OpenCC("tw2s")
print(f"{sys.argv[1]}: t2s {t2s.convert('隨著')}, tw2s {tw2s.convert('隨著')}, tw2s {tw2s.convert('抬頭')}")
PYTHON
python convert.py reimplemented >seen
python -m pip uninstall --quiet --yes opencc-python-reimplemented
python -m pip install --quiet --disable-pip-version-check OpenCC==1.4.2
python convert.py OpenCC >>seen
expect seen
