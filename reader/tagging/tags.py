"""The tags of sequence labelling: chunk schemes, the label map, what tags may follow each other.

    tags = TagSet({"B-PER": 0, "I-PER": 1, "O": 2}, "IOB")
    tags.spread(0, 3)                   # [0, 1, 1]: B-PER on a token of three word pieces
    tags.entities([0, 1, 2])            # [("PER", 0, 1)]: type, first, last

Schemes (Ramshaw and Marcus 1995; Sang and Veenstra 1999): a tag is O or a prefix, "-" and a type.
    IOB     B- begins an entity, I- goes on
    IOE     I- goes on, E- ends an entity
    IOBES   B- begins, I- goes on, E- ends, S- is one of a single token; so do M-, E- and S- of BMES, L- and U- of BILOU
    IO      tokens of one type side by side are one entity; a prefix B-, E- or S- says nothing more than I-, and a tag
            without one is a type, such as a part of speech
Entities are found by seqeval in its default mode, which reads a tag out of place as conlleval does: an I- without a
beginning begins one. Fluid's chunk_eval of 2019 finds the same entities (it knew no IO).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from propeller.errors import UserError
from reader.tsv import shorten

SCHEMES = {"IO": "IBES", "IOB": "BI", "IOE": "IE", "IOBES": "BIES"}
ALIASES = {"M": "I", "L": "E", "U": "S"}  # of IOBES, in BMES and BILOU
CONVERTER = "python script/convert_tagged.py FILE.tsv NEW.tsv"


class TagSet:
    """The tags of a label map and how they go together.

    Args:
        mapping: tag -> class, a class for each of 0..num_labels - 1.
        scheme: a key of SCHEMES.
        o_label: the tag of tokens outside of entities.
        padding_label: the tag of [CLS], [SEP] and padding; by default o_label. 2019 took the last class, which its
            chunk_eval held to be O, so this is the same for every map that 2019 could score.
        num_labels: number of classes, or None: as many as the map has.
        source: what messages name.

    Raises:
        UserError: a tag that is not of the scheme, o_label or padding_label missing, classes that do not count up.
    """

    def __init__(
        self,
        mapping: Mapping[str, int],
        scheme: str = "IOB",
        o_label: str = "O",
        padding_label: str | None = None,
        num_labels: int | None = None,
        source: str = "label map",
    ) -> None:
        self.mapping, self.scheme, self.o_label = dict(mapping), scheme, o_label
        self.num_labels = len(self.mapping) if num_labels is None else num_labels
        self.source = source
        self._check(padding_label)
        self.outside = self.mapping[o_label]
        self.padding = self.mapping[o_label if padding_label is None else padding_label]
        self.names = sorted(self.mapping, key=self.mapping.__getitem__)
        self.parts = [("O", "") if name == o_label else _parts_of(name, scheme) for name in self.names]
        self._numbers = {part: number for number, part in enumerate(self.parts)}
        self.chunk_names = [self._chunk_name(*part) for part in self.parts]
        self.allowed = np.array([[self._follows(one, other) for other in self.parts] for one in self.parts])

    def _check(self, padding_label):
        for what, name in (("--o_label", self.o_label), ("--padding_label", padding_label)):
            if name is not None and name not in self.mapping:
                count = len(self.mapping)
                raise UserError(
                    f"{self.source}: has no {shorten(name)}: add it as class {count}, with --num_labels {count + 1}, "
                    f"or name the label with {what}"
                )
        known = ", ".join(f"{prefix}-" for prefix in sorted(SCHEMES[self.scheme]))
        for name, number in self.mapping.items():
            if name != self.o_label and not _parts_of(name, self.scheme):
                raise UserError(
                    f"{self.source}: {shorten(name)} is not a tag of the chunk scheme {self.scheme} "
                    f"({known} and a type, or {self.o_label}): {self._remedy()}"
                )
            if number >= self.num_labels:
                raise UserError(
                    f"{self.source}: {shorten(name)} is class {number}, but there are {self.num_labels} classes "
                    f"(0..{self.num_labels - 1}): correct the map or --num_labels"
                )
        missing = sorted(set(range(self.num_labels)) - set(self.mapping.values()))
        if missing or len(self.mapping) != self.num_labels:
            what = f"class {missing[0]} has no tag" if missing else "two tags have the same class"
            raise UserError(f"{self.source}: {what}; give each of the {self.num_labels} classes (--num_labels) one tag")

    def _remedy(self):
        """What can be done about tags of another scheme."""
        names = set(self.mapping) - {self.o_label}
        for scheme in ("IOB", "IOE", "IOBES"):
            if all(_parts_of(name, scheme) for name in names):
                return f"give --chunk_scheme {scheme}, which all tags are of"
        bare = len(names) > 1 and not any("-" in name or "_" in name or len(name) < 2 for name in names)
        also = ", or give --chunk_scheme IO if the tags are types, such as parts of speech" if bare else ""
        return f"correct it, or let {CONVERTER} rename the tags and make their label map{also}"

    def _chunk_name(self, prefix, kind):
        """The tag as seqeval is to see it."""
        if prefix == "O":
            return "O"
        return f"I-{kind}" if self.scheme == "IO" else f"{prefix}-{kind}"

    def _follows(self, one, other):
        """Whether a tag (prefix, type) may stand after another one in the scheme."""
        same = one[1] == other[1]
        if self.scheme == "IOB":
            return other[0] != "I" or (same and one[0] in "BI")
        if self.scheme == "IOE":
            return one[0] != "I" or (same and other[0] in "IE")
        if self.scheme == "IOBES":
            opened, goes_on = one[0] in "BI", other[0] in "IE"
            return opened == goes_on and (same or not opened)
        return True

    def spread(self, number: int, count: int) -> list[int]:
        """The classes of a token's `count` (1 or more) word pieces, as in 2019.

        Of three pieces B- becomes B- I- I-, E- becomes I- I- E-, S- becomes B- I- E-; I-, O and one piece stay.

        Raises:
            ValueError: the map lacks a tag that this needs.
        """
        if count == 1:
            return [number]
        prefix, kind = self.parts[number]
        if prefix in "OI":
            return [number] * count
        first = {"B": "B", "E": "I", "S": "B"}[prefix]
        last = {"B": "I", "E": "E", "S": "E"}[prefix]
        parts = [(first, kind), *[("I", kind)] * (count - 2), (last, kind)]
        try:
            return [self._numbers[part] for part in parts]
        except KeyError as missing:
            raise ValueError(
                f"{self.names[number]} is on a token of {count} word pieces, which needs {'-'.join(missing.args[0])}: "
                f"give a --label_map_config that has it beside the tags of {self.source}"
            ) from None

    def classes_of_pieces(self, classes: Iterable[int], counts: Iterable[int]) -> list[int]:
        """The class of each word piece of a sentence.

        Args:
            classes: of its tokens.
            counts: word pieces of each token, 0 or more.

        Raises:
            ValueError: as ``spread``.
        """
        spread: list[int] = []
        for number, count in zip(classes, counts):
            spread += self.spread(number, count) if count else []
        return spread

    def gather(self, classes: Sequence[int]) -> int:
        """The class of a token from those of its word pieces (one or more): what `spread` would have made them from."""
        first = int(classes[0])
        prefix, kind = self.parts[first]
        if len(classes) == 1 or prefix == "O" or self.scheme == "IO":
            return first
        ends = self.parts[int(classes[-1])] in (("E", kind), ("S", kind))
        begins = prefix in "BS"
        wanted = {(True, True): "SB", (True, False): "B", (False, True): "E", (False, False): "I"}[begins, ends]
        parts = [(prefix, kind) for prefix in wanted]
        return next((self._numbers[part] for part in parts if part in self._numbers), first)

    def fill(self, classes: Sequence[int | None]) -> list[int]:
        """`classes` with a class for every None: I- of the entity that goes on from before to after it, else O."""
        filled = [self.outside if number is None else number for number in classes]
        known = [place for place, number in enumerate(classes) if number is not None]
        for before, behind in zip([-1, *known], [*known, len(filled)]):
            if behind - before < 2:
                continue
            one = self.parts[filled[before]] if before >= 0 else ("O", "")
            other = self.parts[filled[behind]] if behind < len(filled) else ("O", "")
            inside = one[0] in "BI" and other[0] in "IE" and one[1] == other[1]
            number = self._numbers.get(("I", one[1]), self.outside) if inside else self.outside
            filled[before + 1 : behind] = [number] * (behind - before - 1)
        return filled

    def entities(self, classes: Sequence[int]) -> list:
        """(type, first, last) of each entity in a sequence of classes."""
        names = self.chunk_names
        from seqeval.metrics.sequence_labeling import get_entities  # brings scikit-learn: slow to import

        return get_entities([names[number] for number in classes])

    def misplaced(self, classes: Sequence[int]) -> int:
        """How many times in a sequence, with O before and behind it, a tag cannot stand behind the one before."""
        row = np.concatenate([[self.outside], np.asarray(classes, np.int64), [self.outside]])
        return int((~self.allowed[row[:-1], row[1:]]).sum())


def _parts_of(name, scheme):
    """(prefix, type) of a tag in a scheme, with the scheme's own prefixes; None: it is none of it."""
    prefix, dash, kind = name.partition("-")
    if scheme == "IOBES":
        prefix = ALIASES.get(prefix, prefix)
    if dash and kind and prefix in tuple(SCHEMES[scheme]):
        return prefix, kind
    return ("I", name) if scheme == "IO" and name else None
