"""A linter for the English that people meet: documents, ``--help`` texts and error messages.

    python script/prose.py                 # every finding, a line each: FILE:LINE: WORDS: what to write instead
    python script/prose.py docs/data.md finetune

It knows a few patterns that read as translated. Code in documents is not looked at, nor are the log lines of the 2019
code, which keep their words. Exit status 1 where it finds something.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UNITS = (
    "batch|class|core|device|document|epoch|example|file|GPU|instance|item|label|layer|line|machine|model|paragraph|"
    "process|question|row|run|seed|sentence|step|task|text|token|unit|variable|word|worker"
)
COUNTED = (
    "batches|bytes|examples?|files?|instances?|lines?|objects?|once|process(?:es)?|rows?|sentences?|steps?|threads?|"
    "tokens?"
)
PATTERNS = {
    rf"\b(?:{COUNTED}) an? (?:{UNITS})\b": "write 'per'",
    r"\bbehind\b": "write 'after', or 'in front of' from the other side",
    r"\bparted\b": "write 'separated' or 'split'",
    r"\blest\b": "write 'so that … not'",
    r"\bsenseless\b": "write 'invalid'",
    r"\b(?:die[sd]?|dying) of\b": "write 'crash' or 'fail because of'",
    r"\btold\b(?! apart)": "name the subject: 'the program detects', 'the message says'",
    r"\bno finite\b": "write 'non-finite'",
    r"\bis of no\b": "write what is missing",
    r"\bsays? of itself\b": "write 'stores', 'the record of'",
    r"\b2019 (?:gave|had|has|ignores|knows|read|said|says|took|wrote|used)\b": "write 'the 2019 code'",
    r"(?<=[\w,;:] )(?:as|like) then\b": "say what it was like",
    r"\b(?:so|as) often\b": "write 'this many times'",
    r"\bhung into\b": "write 'attached to'",
    r"\b(?:with )?commas between\b": "write 'separated by commas'",
    r"\bnew: ": "say what the flag does; what is new stands in docs/migration.md",
    r"\bgoes? along\b|\bneed not be given\b|\bwithout regard\b": "say it plainly",
}
FOUND = re.compile("|".join(f"(?P<p{number}>{pattern})" for number, pattern in enumerate(PATTERNS)), re.MULTILINE)
ADVICE = list(PATTERNS.values())
DOCUMENTS = (
    "*.md",
    "docs/*.md",
    "data/*.md",
    "distill/*.md",
    "tests/*.md",
    "benchmark/*.md",
    "ernie/operators/*.md",
    "findings/*.md",
)
CODE = ("*.py", "distill", "ernie", "finetune", "pretrain", "propeller", "reader", "script", "examples")
# Calls whose text people read, besides those that are raised, and the keyword arguments of others that they read.
CALLS = {"flag", "UserError"}
KEYWORDS = {"help", "description", "epilog"}


def findings(text: str) -> Iterator[tuple[int, str, str]]:
    """``(line counted from 0, the words, what to write instead)``."""
    for match in FOUND.finditer(text):
        number = int((match.lastgroup or "p0")[1:])
        yield text.count("\n", 0, match.start()), match[0].strip(), ADVICE[number]


def prose_of(markdown: str) -> str:
    """A document without its code, its links' targets and its HTML; lines stay where they are."""
    blank = re.sub(r"^```.*?^```$", lambda match: "\n" * match[0].count("\n"), markdown, flags=re.MULTILINE | re.DOTALL)
    blank = re.sub(r"^    .*$", "", blank, flags=re.MULTILINE) if "\n    python " in blank else blank
    return re.sub(r"`[^`\n]*`|\]\([^)]*\)|<[^>\n]*>", lambda match: "·" * len(match[0]), blank)


def texts_of(code: str) -> Iterator[tuple[int, str]]:
    """``(line, text)`` of what a program shows: help texts and the messages of errors."""
    tree = ast.parse(code)
    raised = {id(node.exc) for node in ast.walk(tree) if isinstance(node, ast.Raise)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        shown = node.args if name in CALLS or id(node) in raised else []
        for part in (*shown, *(word.value for word in node.keywords if word.arg in KEYWORDS)):
            for inner in ast.walk(part):
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                    yield inner.lineno, inner.value


def files(names: Iterable[str]) -> Iterator[Path]:
    """The files that are looked at below these names, or all."""
    given = [ROOT / name for name in names]
    if not given:
        given = [
            path for pattern in DOCUMENTS for path in sorted(ROOT.glob(pattern)) if not path.name.endswith("zh.md")
        ]
        given += [path for pattern in CODE for path in sorted(ROOT.glob(pattern))]
    for path in given:
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def main(names: list[str]) -> int:
    count = 0
    for path in files(names):
        text = path.read_text(encoding="utf-8")
        parts = [(1, prose_of(text))] if path.suffix == ".md" else texts_of(text)
        for begin, part in parts:
            for line, words, advice in findings(part):
                print(f"{path.relative_to(ROOT)}:{begin + line}: {words}: {advice}")
                count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
