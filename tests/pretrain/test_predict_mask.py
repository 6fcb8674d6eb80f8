"""Filling [MASK]s: against enumeration of all fillings, joined text, what is printed, bad input."""

import numpy as np
import pytest

from pretrain.training.predict_mask import MASK, Filling, MaskFiller, joined, sentences
from pretrain.training.runner import main
from propeller.errors import UserError
from tests.helpers.pretraining import make_shards, pretrain_flags
from tests.helpers.tiny import VOCABULARY
from tokenization import FullTokenizer

VOCAB = len(VOCABULARY)


@pytest.fixture(scope="module")
def tokenizer(model):
    return FullTokenizer(str(model / "vocab.txt"))


def toy(batch):
    """Scores that depend on all tokens of the row and on the place: random numbers seeded by them."""
    length, found = batch["src_ids"].shape[1], []
    for place in batch["mask_pos"].ravel():
        row = batch["src_ids"][place // length]
        seed = [int(i) for i in row] + [int(place % length)]
        found.append(np.random.RandomState(seed).randn(VOCAB) * 2)
    return np.array(found, np.float32)


def log_probabilities(ids, place):
    batch = {"src_ids": np.array([ids]), "mask_pos": np.array([[place]])}
    scores = toy(batch)[0].astype(np.float64)
    return scores - np.log(np.exp(scores).sum())


def exact(filler, text, count):
    """The likeliest fillings of the one unit, of two [MASK]s, by trying all."""
    ids, ((first, second),) = filler.encode(text)
    allowed = [i for i in range(VOCAB) if i not in filler.barred]
    found, one = [], log_probabilities(ids, first)
    for a in allowed:
        then = log_probabilities([*ids[:first], a, *ids[first + 1 :]], second)
        found += [(float(np.exp(one[a] + then[b])), (VOCABULARY[a], VOCABULARY[b])) for b in allowed]
    return sorted(found, reverse=True)[:count]


def test_one_mask_is_exact(tokenizer):
    filler = MaskFiller(toy, tokenizer, 40)
    ids, units = filler.encode(f"the film {MASK} good .")
    assert units == [[3]]
    ((*fillings,),) = filler.fill(f"the film {MASK} good .", 5)
    scores = log_probabilities(ids, 3)
    order = [i for i in np.argsort(-scores) if i not in filler.barred][:5]
    assert [f.tokens for f in fillings] == [(VOCABULARY[i],) for i in order]
    assert [f.probability for f in fillings] == pytest.approx([np.exp(scores[i]) for i in order])


@pytest.mark.parametrize("text", [f"the {MASK}{MASK} was", f"{MASK} {MASK}", f"good film {MASK} {MASK} ."])
def test_masks_side_by_side_are_filled_jointly(tokenizer, text):
    """The chain rule over both; the beam, here as wide as the vocabulary, leaves nothing out."""
    filler = MaskFiller(toy, tokenizer, 40)
    ((*fillings,),) = filler.fill(text, 8)
    expected = exact(filler, text, 8)
    assert [f.tokens for f in fillings] == [tokens for _, tokens in expected]
    assert [f.probability for f in fillings] == pytest.approx([probability for probability, _ in expected])


def test_units_apart_are_filled_each_for_itself(tokenizer):
    filler = MaskFiller(toy, tokenizer, 40)
    text = f"{MASK} film {MASK}{MASK} ."
    assert filler.encode(text)[1] == [[1], [3, 4]]
    first, second = filler.fill(text, 3)
    assert [len(f.tokens) for f in (*first, *second)] == [1] * 3 + [2] * 3
    assert filler.filled(text, [Filling(("a",), 1), Filling(("poor", "##ly"), 1)]) == "a film poorly ."


def test_never_a_special_piece(tokenizer):
    filler = MaskFiller(toy, tokenizer, 40)
    ((*fillings,),) = filler.fill(f"the {MASK}", 1000)
    assert len(fillings) == VOCAB - 5
    assert not {f.tokens[0] for f in fillings} & {"[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"}


def test_only_pieces_of_the_vocabulary_where_the_network_has_more(tokenizer):
    filler = MaskFiller(lambda batch: np.pad(toy(batch), ((0, 0), (0, 9)), constant_values=50), tokenizer, 40)
    ((*fillings,),) = filler.fill(f"the {MASK}", 1000)
    assert len(fillings) == VOCAB - 5
    assert {f.tokens[0] for f in fillings} < set(VOCABULARY)


@pytest.mark.parametrize(
    ("pieces", "text"), [(("北", "京"), "北京"), (("new", "york"), "new york"), (("play", "##ing", "!"), "playing!")]
)
def test_joined(pieces, text):
    made = ""
    for piece in pieces:
        made = joined(made, piece)
    assert made == text


def test_sentences_come_from_the_flag_a_file_or_standard_input(tmp_path, monkeypatch):
    (tmp_path / "s.txt").write_text(f"one {MASK}\n\n two {MASK} \n")
    assert sentences(f"a {MASK}") == [("", f"a {MASK}")]
    found = [(f"{tmp_path}/s.txt, line 1: ", f"one {MASK}"), (f"{tmp_path}/s.txt, line 3: ", f"two {MASK}")]
    assert sentences(str(tmp_path / "s.txt")) == found
    monkeypatch.setattr("sys.stdin", iter(()))
    with pytest.raises(UserError, match="neither|no \\[MASK\\], nor is it a file"):
        sentences("no mask here")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match="no sentence"):
        sentences(str(tmp_path / "empty.txt"))


def test_bad_sentences_are_named(tokenizer):
    filler = MaskFiller(toy, tokenizer, 6)
    with pytest.raises(UserError, match=r"'the film' has no \[MASK\]"):
        filler.fill("the film")
    with pytest.raises(UserError, match=r"has 7 tokens, --max_seq_len is 6: shorten it"):
        filler.fill(f"the film was good {MASK}")


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory):
    """A model that learnt forty instances by heart, as far as that goes."""
    folder = tmp_path_factory.mktemp("trained")
    shards = make_shards(folder / "shards")
    changes = {"num_train_steps": 2, "validation_steps": 0, "valid_filelist": None}
    main("train.py", pretrain_flags(model, shards, folder / "run", **changes))
    return folder / "run"


def test_what_is_printed(model, trained, capsys, tmp_path):
    given = [*pretrain_flags(model, tmp_path, tmp_path / "none"), "--init_checkpoint", str(trained / "last")]
    main("train.py", [*given, "--top", "3", "--predict_mask", f"the {MASK} was {MASK}{MASK} ."])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"the {MASK} was {MASK}{MASK} ."
    assert [line.strip() for line in lines if MASK in line][1:] == [f"{MASK} 1 of 2", f"{MASK} 2 of 2"]
    rows = [line.strip().split("\t") for line in lines if "\t" in line]
    assert [row[0] for row in rows] == ["1", "2", "3"] * 2
    for rank, probability, pieces, text in rows:
        assert 0 < float(probability) < 1
        assert len(pieces.split()) == (1 if rows.index([rank, probability, pieces, text]) < 3 else 2)
        assert text.startswith("the ")
        assert MASK not in text
    probabilities = [float(row[1]) for row in rows]
    assert probabilities[:3] == sorted(probabilities[:3], reverse=True)
    (tmp_path / "s.txt").write_text(f"the {MASK}\nthe film\n")
    with pytest.raises(UserError, match="line 2: 'the film' has no"):
        main("train.py", [*given, "--predict_mask", str(tmp_path / "s.txt")])
