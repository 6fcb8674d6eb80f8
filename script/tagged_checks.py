"""Whether files of tagged text are what they seem: prose is refused, and a tag without a prefix among tags with one.

check_not_prose(Path("train.txt"), sentences)
scheme, outside = scheme_of({Path("train.txt"): sentences}, "auto")
odd = strange_tag(["B-PER", "PER", "O"], "IOB")        # "PER"
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from propeller.errors import UserError
from reader.forms import DOCSTART, tag_columns
from script import tagged_exports, tagged_text
from script.conversion import Refused, text_lines
from script.tagged_text import OUTSIDE, PREFIXES, WRITTEN, TaggedSentence, parts_of

SENTENCE_END = re.compile(r".*\w[.!?;,:。！？；，]+[\"'”’)]*")  # "Berlin.": no tag set has such a tag
FEW = 10  # tags: of fewer of them it means nothing that they differ
DIFFERENT = 0.8  # of the tags of prose, its lines' last words
ALIKE = 0.8  # of the lines of tagged text have equally many columns


def tags_at(path: Path, sentences: Iterable[TaggedSentence]) -> Iterator[tuple[int, str]]:
    """(line, tag) of each token of the sentences that are not refused."""
    apart = not (tagged_exports.is_export(path) or tagged_text.is_table(path))  # a line for each token
    for sentence in sentences:
        if not sentence.problem:
            yield from ((sentence.line + place * apart, tag) for place, tag in enumerate(sentence.tags))


def check_not_prose(path: Path, sentences: Sequence[TaggedSentence]) -> None:
    """Raise UserError, with a line, if the last words of ordinary sentences would be taken for tags."""
    tags = list(tags_at(path, sentences))
    names = {tag for _, tag in tags}
    prefixed = sum(parts_of(tag) is not None for _, tag in tags)
    if not tags or OUTSIDE in names or 2 * prefixed >= len(tags):
        return
    odd = next(((line, tag) for line, tag in tags if SENTENCE_END.fullmatch(tag)), None)
    if odd is None and (len(tags) >= FEW and len(names) > DIFFERENT * len(tags) or not _has_columns(path)):
        odd = tags[0]
    if odd is not None:
        raise UserError(
            f"{path}, line {odd[0]}: {odd[1]!r} does not look like a tag, and the lines look like running text; give "
            "one token and its tag per line and a blank line after each sentence. If these are tags, give --scheme none"
        )


def _has_columns(path):
    """Whether most lines have equally many columns; files of other forms than a token per line have them."""
    if tagged_exports.is_export(path) or tagged_text.is_table(path):
        return True
    lines = [line for _, line in text_lines(path) if not isinstance(line, Refused)]
    counts = Counter(len(tag_columns(line)) for line in lines if line.strip() and not line.startswith(DOCSTART))
    return not counts or max(counts.values()) >= ALIKE * sum(counts.values())


def scheme_of(found: Mapping[Path, Sequence[TaggedSentence]], asked: str) -> tuple[str | None, set[str]]:
    """(the scheme to write or None, the tags that mean O).

    Args:
        found: sentences of each file.
        asked: a scheme, "auto" or "none".

    Raises:
        UserError: a tag has no prefix, and the others do or a scheme is asked for.
    """
    placed = [(path, line, tag) for path, sentences in found.items() for line, tag in tags_at(path, sentences)]
    tags = Counter(tag for _, _, tag in placed)
    outside = tagged_text.outside_of(tags)
    if asked == "none":
        return None, outside
    rest = {tag: parts_of(tag) for tag in tags if tag not in outside}
    prefixed = [tag for tag, parts in rest.items() if parts]
    bare = {tag for tag, parts in rest.items() if not parts}
    if not bare:
        return ("IOB" if prefixed else None) if asked == "auto" else asked, outside
    few = sum(tags[tag] for tag in prefixed) >= sum(tags[tag] for tag in bare)
    types = {parts[1] for parts in rest.values() if parts}
    mixed = [tag for tag in bare if prefixed and (few or tag in types)]
    if mixed or asked != "auto":
        path, line, tag = next(place for place in placed if place[2] in (mixed or bare))
        if mixed:
            raise UserError(
                f"{path}, line {line}: the tag {tag!r} has no prefix among tags with prefixes (such as "
                f"{min(prefixed)!r}); correct it. --scheme none keeps all tags as they are"
            )
        raise UserError(f"{path}, line {line}: the tag {tag!r} has no prefix (B-, I-, ...); give --scheme none")
    return None, outside


def kind_of(tag: str, scheme: str | None) -> str | None:
    """The type of a tag in a scheme, "" for O; None: it does not belong to the scheme.

    Args:
        tag: of a label map.
        scheme: of ``script.tagged_text.WRITTEN``; None: each tag is its own type.
    """
    if tag == OUTSIDE:
        return ""
    if scheme is None:
        return tag
    prefix, dash, kind = tag.partition("-")
    own = PREFIXES.get(prefix) if scheme == "IOBES" else prefix
    if dash and kind and own is not None and own in tuple(WRITTEN[scheme]):
        return kind
    return tag if scheme == "IO" and tag else None


def strange_tag(tags: Iterable[str], scheme: str | None) -> str | None:
    """The first of the tags that does not belong to a scheme, or None."""
    return next((tag for tag in tags if kind_of(tag, scheme) is None), None)
