"""Masks: those of 2019 for its draws and in the long run; units whole, [CLS], [SEP] and [PAD] let be."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propeller.errors import UserError
from reader.pretraining.masking import (
    LEVELS,
    Draws,
    DrawsOf2019,
    Schedule,
    SpecialIds,
    bits_at,
    mark_special,
    mask_positions,
    mask_tokens,
    unit_starts,
)
from reader.pretraining.shards import SPECIAL, Instances, parse_lines
from tests.helpers.common import GOLDEN

RECORDED = GOLDEN / "2b_pretrain"
IDS = SpecialIds(pad=0, cls=1, sep=2, mask=3)
TEXT, VOCAB = 18000, 1 << 30  # ids of texts; and so many that no replacement is [MASK] or the piece itself by chance


def instances(rows, knowledge=True):
    """From (ids, seg_labels, units) of each row."""
    lines = [
        f"{' '.join(map(str, ids))};{' '.join('0' for _ in ids)};{' '.join(map(str, range(len(ids))))};"
        f"{' '.join(map(str, segs))};1;{units}".rstrip(";").encode()
        for ids, segs, units in rows
    ]
    found, problems = parse_lines(lines)
    assert not problems
    found.knowledge[:] = knowledge
    return found


def mask(found, level, seed=0, as_2019=False, **more):
    mark_special(found, IDS)
    draws = Draws(bits_at(seed), VOCAB)
    if as_2019:
        draws = DrawsOf2019.of(np.random.RandomState(seed), len(found.ids), VOCAB)
    seen, tokens = mask_tokens(found, draws, level=level, mask_id=IDS.mask, **more)
    assert (np.diff(tokens) > 0).all()
    chosen = np.zeros(len(found.ids), bool)
    chosen[tokens] = True
    return seen, chosen


def mask_of(found):
    return np.arange(found.lengths.max()) < found.lengths[:, None]


@pytest.mark.parametrize("number", range(3))
def test_masks_are_those_of_2019_for_the_same_draws(number):
    case = json.loads((RECORDED / "mask_exact.json").read_text())[number]
    found = instances([(ids, segs, "") for ids, segs in zip(case["tokens"], case["seg_labels"])])
    found.knowledge[:] = case["mask_word_tags"]
    mark_special(found, IDS)
    draws = DrawsOf2019.of(np.random.RandomState(case["np_seed"]), case["total_token_num"], case["vocab_size"])
    assert draws.probs.tolist() == case["prob_mask"]
    assert draws.replacements.tolist() == case["replace_ids"]
    seen, tokens = mask_tokens(found, draws, level="word", mask_id=IDS.mask)
    assert seen.tolist() == [token for row in case["out"] for token in row]
    assert found.ids[tokens].tolist() == case["mask_label"]
    assert mask_positions(tokens, mask_of(found)).ravel().tolist() == case["mask_pos"]


def corpus(rows=19200 // 3, seed=2):
    """Some 450,000 tokens in words of one to five pieces, three special tokens a row, as in the recorded statistics."""
    random = np.random.RandomState(seed)
    lengths = random.randint(20, 125, rows).astype(np.int32)
    total = int(lengths.sum())
    ends = np.cumsum(lengths)
    special = np.zeros(total, bool)
    special[ends - 1] = special[ends - lengths] = special[ends - lengths // 2] = True
    goes_on = (random.random_sample(total) < 0.44) & ~special & ~np.roll(special, 1)
    zeros = np.zeros(total, np.int32)
    return Instances(
        ids=np.where(special, 2, random.randint(4, TEXT, total)).astype(np.int32),
        sents=zeros.astype(np.int16),
        positions=zeros,
        units=np.where(special, SPECIAL, np.where(goes_on, 14, 0)).astype(np.uint8),
        lengths=lengths,
        labels=np.ones(rows, np.int64),
        lines=np.arange(rows),
        files=np.zeros(rows, np.int32),
        knowledge=np.ones(rows, bool),
    )


def counts_of(found, seen, chosen):
    """What mask_stats.json counts of 2019."""
    inner = found.units & LEVELS["word"] != 0
    of_word = np.cumsum(unit_starts(found.units, "word")) - 1
    words = np.unique(of_word[found.units & SPECIAL == 0])
    part = np.bincount(of_word, chosen)[words] / np.bincount(of_word)[words]
    masked, kept = chosen & (seen == IDS.mask), chosen & (seen == found.ids)
    replaced = chosen & ~masked & ~kept
    counts = {"n_tokens_not_special": int((found.units & SPECIAL == 0).sum()), "words": len(words)}
    for name, of in (("", np.ones_like(inner)), ("first_", ~inner), ("inner_", inner)):
        for what, tokens in (("selected", chosen), ("masked", masked), ("replaced", replaced), ("kept", kept)):
            counts[name + what] = int((tokens & of).sum())
    counts["words_fully_selected"] = int((part == 1).sum())
    counts["words_partly_selected"] = int(((part > 0) & (part < 1)).sum())
    counts["special_selected"] = int(chosen[found.units & SPECIAL != 0].sum())
    return counts


RATIOS = [("selected", "n_tokens_not_special"), ("words_fully_selected", "words")]
RATIOS += [(f"{part}{what}", f"{part}selected") for part in ("", "first_", "inner_") for what in ("masked", "replaced")]


@pytest.mark.parametrize("as_2019", [False, True])
@pytest.mark.parametrize("mode", ["mask_char", "mask_word"])
def test_statistics_are_those_of_2019(mode, as_2019):
    """Each share within four standard errors of the difference of two samples; 2019's text had other word lengths, so
    shares of fully chosen words are compared where those do not matter."""
    recorded = json.loads((RECORDED / "mask_stats.json").read_text())[mode]
    found = corpus()
    counts = counts_of(found, *mask(found, "word" if mode == "mask_word" else "basic", 5, as_2019))
    assert abs(counts["n_tokens_not_special"] - recorded["n_tokens_not_special"]) < 30_000
    for part, whole in RATIOS:
        if mode == "mask_char" and part == "words_fully_selected":
            continue
        share, expected = counts[part] / counts[whole], recorded[part] / recorded[whole]
        size = 1 / counts[whole] + 1 / recorded[whole]
        spread = 3 if part == "selected" and mode == "mask_word" else 1  # tokens of one word are chosen together
        assert abs(share - expected) < 4 * spread * (expected * (1 - expected) * size) ** 0.5, (part, share, expected)
    assert counts["special_selected"] == recorded["special_selected"] == 0
    assert (counts["words_partly_selected"] == 0) == (recorded["words_partly_selected"] == 0) == (mode == "mask_word")


def test_one_draw_a_unit_makes_all_its_pieces_alike():
    found = corpus()
    counts, whole = {}, np.flatnonzero(unit_starts(found.units, "word"))
    seen, chosen = mask(found, "word", mask_draw="unit")
    for name, tokens in (("masked", chosen & (seen == 3)), ("kept", chosen & (seen == found.ids))):
        part = np.add.reduceat(tokens.astype(int), whole) / np.diff(whole, append=len(found.ids))
        assert set(np.unique(part)) <= {0.0, 1.0}
        counts[name] = int((part == 1).sum())
    units = int(chosen[whole].sum())
    assert abs(units / (found.units[whole] & SPECIAL == 0).sum() - 0.15) < 0.004
    for name, share in (("masked", 0.8), ("kept", 0.1)):
        assert abs(counts[name] / units - share) < 4 * (share * (1 - share) / units) ** 0.5
    same, _ = mask(found, "word")
    assert (seen != same).any()


words_of_rows = st.lists(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["--", "-", "p", "e", "pe"])), max_size=12),
    min_size=1,
    max_size=6,
)


def row_of(words, row):
    """(ids, seg_labels, units) of words of some pieces, in phrases and entities as their marks say.

    A word with a mark is joined with the one after it to a unit of each kind marked, where that overlaps no other.
    """
    ids, segs, begins = [1], [-1], []
    for count, _ in words:
        begins.append(len(ids))
        ids += [100 * row + 10 + len(ids) + i for i in range(count)]
        segs += [0] + [1] * (count - 1)
        if len(begins) == len(words) // 2:
            ids.append(2)
            segs.append(-1)
    begins.append(len(ids))
    units, free = [], {"p": 0, "e": 0}
    for at, (_, marks) in enumerate(words):
        end = begins[min(at + 2, len(words))]
        for kind in set(marks) & set("pe"):
            if begins[at] >= free[kind] and 2 not in ids[begins[at] : end]:
                units.append(f"{begins[at]}-{end}-{kind}")
                free[kind] = end
    return [*ids, 2], [*segs, -1], " ".join(units)


def units_by_hand(row, level):
    """Sets of token positions, a unit each, as the module's words define them."""
    ids, segs, units = row
    spans = [unit.split("-") for unit in units.split()] if level in ("phrase", "entity") else []
    spans = {kind: [range(int(a), int(b)) for a, b, k in spans if k == kind] for kind in "pe"}
    whole = spans["e"] if level == "entity" else spans["p"]
    if level == "entity":
        whole = whole + [p for p in spans["p"] if not any(set(p) & set(e) for e in spans["e"])]
    found = [set(span) for span in whole]
    taken = set().union(*found) if found else set()
    words = []
    for at, seg in enumerate(segs):
        if seg == 1 and level != "basic":
            words[-1].add(at)
        elif seg != -1:
            words.append({at})
    return found + [word for word in words if not word & taken]


@settings(deadline=None, max_examples=300)
@given(
    words_of_rows,
    st.sampled_from(list(LEVELS)),
    st.sampled_from(["piece", "unit"]),
    st.integers(0, 99),
    st.booleans(),
    st.booleans(),
)
def test_units_are_never_split_and_labels_restore_the_text(rows, level, mask_draw, seed, as_2019, some):
    made = [row_of(words, number) for number, words in enumerate(rows)]
    found = instances(made)
    seen, chosen = mask(found, level, seed, as_2019, mask_draw=mask_draw, at_least_one=some)
    assert (seen[~chosen] == found.ids[~chosen]).all()
    assert not np.isin(found.ids[chosen], [0, 1, 2]).any()
    assert chosen.any() or not some or not any(rows)
    longest = found.lengths.max()
    padded = np.zeros((len(rows), longest), np.int64)
    for number, (begin, end) in enumerate(zip(found.offsets, found.offsets[1:])):
        padded[number, : end - begin] = seen[begin:end]
        units = units_by_hand(made[number], level)
        assert sorted(at for unit in units for at in unit) == [
            at for at, seg in enumerate(made[number][1]) if seg != -1
        ]
        for unit in units:
            assert len({bool(chosen[begin + at]) for at in unit}) == 1
            if mask_draw == "unit":
                assert len({bool(seen[begin + at] == IDS.mask) for at in unit}) == 1
    places = mask_positions(np.flatnonzero(chosen), mask_of(found))
    padded.reshape(-1)[places.ravel()] = found.ids[chosen]
    for number, (ids, _, _) in enumerate(made):
        assert padded[number].tolist() == ids + [0] * (longest - len(ids))


def test_files_without_knowledge_mask_pieces_and_the_rest_of_a_cut_word_is_left_alone():
    found = instances([([1, *range(10, 310), 2], [-1, *[0, 1] * 150, -1], "1-41-e")] * 40)
    found.knowledge[::2] = False
    _, chosen = mask(found, "entity")
    rows = chosen.reshape(40, 302)
    assert any(len(set(row[1:41].tolist())) == 2 for row in rows[::2])
    assert all(len(set(row[1:41].tolist())) == 1 for row in rows[1::2])
    _, chosen = mask(instances([([1, *range(10, 60), 2], [-1, *[1] * 50, -1], "")] * 20), "word")
    assert not chosen.any()


def test_the_lowest_draw_is_chosen_where_none_is_low():
    found = instances([([1, 10, 11, 2, 12, 2], [-1, 0, 1, -1, 0, -1], "")])
    draws = DrawsOf2019(np.array([0.0, 0.9, 0.01, 0.0, 0.95, 0.0]), np.full(6, 7))
    for some, expected in ((False, []), (True, [1, 2])):
        seen, tokens = mask_tokens(found, draws, level="word", mask_id=IDS.mask, at_least_one=some)
        assert tokens.tolist() == expected
    assert seen.tolist() == [1, 3, 11, 2, 12, 2]
    none = instances([([1, 2], [-1, -1], "")])
    assert not mask(none, "word", at_least_one=True)[1].any()


def test_stages_by_steps():
    stages = Schedule.parse("basic:0, phrase:10,entity:25")
    assert [stages.level(step) for step in (0, 9, 10, 24, 25, 10**9)] == ["basic"] * 2 + ["phrase"] * 2 + ["entity"] * 2
    assert Schedule.parse("word").level(7) == "word"
    with pytest.raises(UserError, match="is not understood; give one of basic, word, phrase, entity"):
        Schedule.parse("char")
