"""Tagged text, a token and its tag a line, as it is distributed: sentences out of it, and tags in the scheme asked for.

for line, tokens, tags, problem in sentences(Path("train.txt")): ...
renamed(["B-PER", "E-PER", "O"], "IOB")                 # ["B-PER", "I-PER", "O"]

The first column is the token, the last one the tag, tabs or blanks between; a blank line ends a sentence, and a line of
-DOCSTART- is none. The prefixes of BIO, BIOES, BMES and BILOU are known, before the type (B-PER, B_PER) and after it
(PER-B).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from propeller.errors import UserError
from reader.forms import DOCSTART
from script.conversion import Refused, text_lines

OUTSIDE = "O"
JOINT = "\x02"  # between tokens and between tags, as the tagging reader has it
# A prefix of any scheme -> that of IOBES.
PREFIXES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"}
BEFORE = re.compile(r"([BIMELSUbimelsu])[-_](.+)")
AFTER = re.compile(r"(.+)[-_]([BIMELSU])")
NUMBERED = re.compile(r"(.)(\d+)")  # weibo's characters, each with its place in its word
MANY = 0.9
CHINESE = re.compile(r"[\u3400-\u9fff]")
LONGEST_WORD = 10  # Chinese characters; a longer token is taken for a text
# scheme -> (prefixes of a beginning, an inner, a last and a single token)
WRITTEN = {"IOB": "BIIB", "IOBES": "BIES", "IOE": "IIEE", "IO": "IIII"}


class TaggedSentence(NamedTuple):
    """line: its first; tokens, tags: as they stand; problem: a Refused, or None."""

    line: int
    tokens: list
    tags: list
    problem: Refused | None


def columns(line: str, place: int = 0) -> tuple[str, str] | None:
    """(token, tag) of a line, or None where it has but one column. A token may be a blank: ``"  O"``, ``" \\tO"``.

    place: of the token among the columns, from 0.
    """
    if "\t" in line.rstrip("\t "):
        parts = line.rstrip("\t ").split("\t")
        return (parts[place], parts[-1].strip()) if place < len(parts) - 1 and parts[place] else None
    parts = line.split()
    if len(parts) > 1:
        return (parts[place], parts[-1]) if place < len(parts) - 1 else None
    token = line[: -len(parts[0]) - 1] if line.endswith(parts[0]) else ""
    return (token, parts[0]) if token else None


def sentences(path, place: int = 0) -> Iterator[TaggedSentence]:
    """The sentences of a file. place: as in ``columns``. Raises UserError: the file is in another encoding."""
    if is_table(path):
        yield from _rows(path)
        return
    first, tokens, tags, problem = 0, [], [], None
    for number, line in [*text_lines(path), (0, "")]:
        blank = not isinstance(line, Refused) and not line.strip("\t ")
        docstart = not isinstance(line, Refused) and line.startswith(DOCSTART)
        if blank or docstart:
            if tokens or problem:
                yield TaggedSentence(first, tokens, tags, problem)
            tokens, tags, problem = [], [], None
            continue
        first = first if tokens or problem else number
        found = None if isinstance(line, Refused) else columns(line, place)
        if isinstance(line, Refused):
            problem = problem or line
        elif found is None:
            problem = problem or Refused("a line of its sentence has no tag")
        else:
            tokens.append(found[0])
            tags.append(found[1])


def is_table(path) -> bool:
    """Whether a file is one of run_sequence_labeling.py already: a header that names text_a and label."""
    lines = text_lines(path)
    _, first = next(lines, (0, ""))
    lines.close()
    return not isinstance(first, Refused) and {"text_a", "label"} <= set(first.split("\t"))


def _rows(path):
    """The sentences of such a file, tokens and tags with the byte 0x02 between, or with blanks."""
    (_, header), *lines = text_lines(path)
    places = [header.split("\t").index(name) for name in ("text_a", "label")]
    joint = JOINT if any(not isinstance(line, Refused) and JOINT in line for _, line in lines) else None
    for number, line in lines:
        if isinstance(line, Refused):
            yield TaggedSentence(number, [], [], line)
            continue
        values = line.split("\t")
        tokens, tags = (values[place].split(joint) if place < len(values) else [] for place in places)
        if tokens or tags:
            problem = None if len(tokens) == len(tags) else Refused("not as many tags as tokens")
            yield TaggedSentence(number, tokens, [tag.strip() for tag in tags], problem)


def counted(found: Iterable[TaggedSentence]) -> bool:
    """Whether the tokens are 1, 2, 3, ...: a column of numbers stands before that of the tokens."""
    tokens = [token for sentence in found for token in sentence.tokens]
    if len(tokens) < 3 or not all(token.isdecimal() for token in tokens):
        return False
    return all(int(other) in (1, int(one) + 1) for one, other in zip(tokens, tokens[1:]))


def numbered(found: Iterable[TaggedSentence]) -> bool:
    """Whether characters have numbers after them, as in the weibo data: 科0 技1."""
    tokens = [token for sentence in found for token in sentence.tokens]
    alike = sum(bool(match := NUMBERED.fullmatch(token)) and ord(match[1]) >= 0x2E80 for token in tokens)
    return bool(tokens) and alike >= MANY * len(tokens)


def unsplit(found: Iterable[TaggedSentence]) -> str | None:
    """The longest of tokens that are texts, if most Chinese characters stand in such ones; else None.

    label-studio's export in CoNLL's form is such a file (``findings/label_studio_chinese_conll.sh``).
    """
    longest, inside, everywhere = "", 0, 0
    for token in (token for sentence in found for token in sentence.tokens):
        size = len(CHINESE.findall(token))
        everywhere += size
        if size > LONGEST_WORD:
            inside, longest = inside + size, max(longest, token, key=len)
    return longest if inside > everywhere / 2 else None


def without_numbers(tokens: Sequence[str]) -> list[str]:
    """The tokens, of each character with a number after it the character alone."""
    return [match[1] if (match := NUMBERED.fullmatch(token)) else token for token in tokens]


def parts_of(tag: str) -> tuple[str, str] | None:
    """(prefix of IOBES, type) of a tag, or None: it belongs to no chunk scheme."""
    if match := BEFORE.fullmatch(tag):
        return PREFIXES[match[1].upper()], match[2]
    if match := AFTER.fullmatch(tag):
        return PREFIXES[match[2]], match[1]
    if tag in PREFIXES:  # bare: one type alone
        return PREFIXES[tag], "X"
    return None


def outside_of(tags: Iterable[str]) -> set[str]:
    """The tags that mean O among those of a data set: O itself, else o or 0 where the others have prefixes."""
    names = set(tags)
    if OUTSIDE in names:
        return {OUTSIDE}
    return names & {"o", "0"} if any(parts_of(tag) for tag in names) else set()


def is_chunked(tags: Iterable[str]) -> bool:
    """Whether all tags but O have a prefix, so that they make entities."""
    rest = set(tags) - outside_of(tags)
    return bool(rest) and all(map(parts_of, rest))


def renamed(tags: Sequence[str], scheme: str, outside: Iterable[str] = (OUTSIDE,)) -> list[str]:
    """The tags of a sentence in another scheme: the same entities.

    Args:
        scheme: a key of WRITTEN. IOE and IO cannot tell neighbours of one type apart.
        outside: the tags that mean O.

    Raises:
        UserError: a tag has no prefix.
    """
    made = [OUTSIDE] * len(tags)
    begin_, inner, last, single = WRITTEN[scheme]
    for kind, first, final in entities(tags, outside):
        names = [single] if first == final else [begin_, *[inner] * (final - first - 1), last]
        made[first : final + 1] = [f"{prefix}-{kind}" for prefix in names]
    return made


def entities(tags: Sequence[str], outside: Iterable[str] = (OUTSIDE,)) -> list[tuple[str, int, int]]:
    """(type, first, last) of each entity, whatever the scheme; a tag out of place begins an entity, as in conlleval."""
    found: list[tuple[str, int, int]] = []
    kind, begin = None, 0
    for place, tag in enumerate([*tags, OUTSIDE]):
        ends = tag in outside or place == len(tags)
        parts = None if ends else parts_of(tag)
        if not ends and parts is None:
            raise UserError(f"tag {tag!r} has no prefix (B-, I-, ...), so it cannot be renamed; give --scheme none")
        if kind is not None and (ends or parts is None or parts[0] in "BS" or parts[1] != kind):
            found.append((kind, begin, place - 1))
            kind = None
        if parts is None:
            continue
        if kind is None:
            kind, begin = parts[1], place
        if parts[0] in "ES":
            found.append((kind, begin, place))
            kind = None
    return found


def label_map(tags: Iterable[str]) -> dict[str, int]:
    """tag -> class: by type and prefix, O the last, as in data/msra_ner/label_map.json."""
    names = set(tags)
    rest = sorted(names - {OUTSIDE}, key=lambda tag: (tag.partition("-")[2], "BIMES".find(tag[0]), tag))
    return {tag: number for number, tag in enumerate([*rest, OUTSIDE] if OUTSIDE in names else rest)}
