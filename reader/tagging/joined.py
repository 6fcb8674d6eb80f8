"""What stands between tokens where they are put together as a text.

joint_of(["Ada", "Lovelace"])      # " "
joint_of(["灯", "塔", "GPT"])       # ""
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Kana and Han: Chinese and Japanese have no blanks between words.
CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


def joint_of(tokens: Iterable[str]) -> str:
    """A blank, or nothing where one of the tokens has a Chinese or Japanese character."""
    return "" if any(map(CJK.search, tokens)) else " "
