"""The tags of sequence labelling: chunk schemes, the label map, what tags may follow each other.

    tags = TagSet({"B-PER": 0, "I-PER": 1, "O": 2}, "IOB")
    tags.spread(0, 3)                   # [0, 1, 1]: B-PER on a token of three word pieces
    tags.entities([0, 1, 2])            # [("PER", 0, 1)]: type, first, last

Schemes (Ramshaw and Marcus 1995; Sang and Veenstra 1999): a tag is O or a prefix, "-" and a type.
    IOB     B- begins an entity, I- goes on
    IOE     I- goes on, E- ends an entity
    IOBES   B- begins, I- goes on, E- ends, S- is one of a single token
    IO      tokens of one type side by side are one entity; a prefix B-, E- or S- says nothing more than I-
Entities are found by seqeval in its default mode, which reads a tag out of place as conlleval does: an I- without a
beginning begins one. Fluid's chunk_eval of 2019 finds the same entities (it knew no IO).
"""

from __future__ import annotations

import numpy as np
from seqeval.metrics.sequence_labeling import get_entities

from propeller.errors import UserError
from reader.tsv import shorten

SCHEMES = {"IO": "IBES", "IOB": "BI", "IOE": "IE", "IOBES": "BIES"}


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

    Raises UserError: a tag that is not of the scheme, o_label or padding_label missing, classes that do not count up.
    """

    def __init__(self, mapping, scheme="IOB", o_label="O", padding_label=None, num_labels=None, source="label map"):
        self.mapping, self.scheme, self.o_label = dict(mapping), scheme, o_label
        self.num_labels = len(self.mapping) if num_labels is None else num_labels
        self.source = source
        self._check(padding_label)
        self.outside = self.mapping[o_label]
        self.padding = self.mapping[o_label if padding_label is None else padding_label]
        self.names = sorted(self.mapping, key=self.mapping.get)
        self.parts = [("O", "") if name == o_label else tuple(name.split("-", 1)) for name in self.names]
        self.chunk_names = [self._chunk_name(*part) for part in self.parts]
        self.allowed = np.array([[self._follows(one, other) for other in self.parts] for one in self.parts])

    def _check(self, padding_label):
        for what, name in (("--o_label", self.o_label), ("--padding_label", padding_label)):
            if name is not None and name not in self.mapping:
                raise UserError(f"{self.source}: has no {shorten(name)}: add it or name the label with {what}")
        prefixes = SCHEMES[self.scheme]
        known = ", ".join(f"{prefix}-" for prefix in sorted(prefixes))
        for name, number in self.mapping.items():
            prefix, dash, kind = name.partition("-")
            if name != self.o_label and not (dash and kind and prefix in tuple(prefixes)):
                raise UserError(
                    f"{self.source}: {shorten(name)} is not a tag of the chunk scheme {self.scheme} "
                    f"({known} and a type, or {self.o_label}): correct it or --chunk_scheme"
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

    def _chunk_name(self, prefix, kind):
        """The tag as seqeval is to see it."""
        if prefix == "O":
            return "O"
        return f"I-{kind}" if self.scheme == "IO" else f"{prefix}-{kind}"

    def _follows(self, one, other):
        """Whether a tag (prefix, type) may stand behind another one in the scheme."""
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
        """The classes of a token's `count` (2 or more) word pieces, as in 2019: B- becomes B- I- I-, E- I- I- E-, S- B-
        I- E-, I- and O stay. Raises ValueError: the map lacks a tag that this needs."""
        prefix, kind = self.parts[number]
        if prefix in "OI":
            return [number] * count
        first = {"B": "B", "E": "I", "S": "B"}[prefix]
        last = {"B": "I", "E": "E", "S": "E"}[prefix]
        names = [f"{first}-{kind}", *[f"I-{kind}"] * (count - 2), f"{last}-{kind}"]
        try:
            return [self.mapping[name] for name in names]
        except KeyError as missing:
            raise ValueError(
                f"{self.names[number]} is on a token of {count} word pieces, which needs {missing.args[0]}: "
                f"add that to {self.source}"
            ) from None

    def gather(self, classes) -> int:
        """The class of a token from those of its word pieces (one or more): what `spread` would have made them from."""
        first = int(classes[0])
        prefix, kind = self.parts[first]
        if len(classes) == 1 or prefix == "O" or self.scheme == "IO":
            return first
        ends = self.parts[int(classes[-1])] in (("E", kind), ("S", kind))
        begins = prefix in "BS"
        wanted = {(True, True): "SB", (True, False): "B", (False, True): "E", (False, False): "I"}[begins, ends]
        names = [f"{prefix}-{kind}" for prefix in wanted]
        return next((self.mapping[name] for name in names if name in self.mapping), first)

    def fill(self, classes) -> list[int]:
        """`classes` with a class for every None: I- of the entity that goes on from before to behind it, else O."""
        filled, known = list(classes), [at for at, number in enumerate(classes) if number is not None]
        for before, behind in zip([-1, *known], [*known, len(filled)]):
            if behind - before < 2:
                continue
            one = self.parts[filled[before]] if before >= 0 else ("O", "")
            other = self.parts[filled[behind]] if behind < len(filled) else ("O", "")
            inside = one[0] in "BI" and other[0] in "IE" and one[1] == other[1]
            number = self.mapping.get(f"I-{one[1]}", self.outside) if inside else self.outside
            filled[before + 1 : behind] = [number] * (behind - before - 1)
        return filled

    def entities(self, classes) -> list:
        """(type, first, last) of each entity in a sequence of classes."""
        names = self.chunk_names
        return get_entities([names[number] for number in classes])

    def misplaced(self, classes) -> int:
        """How many times in a sequence, with O before and behind it, a tag cannot stand behind the one before."""
        row = np.concatenate([[self.outside], np.asarray(classes, np.int64), [self.outside]])
        return int((~self.allowed[row[:-1], row[1:]]).sum())
