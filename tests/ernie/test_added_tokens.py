"""Added tokens: converted to their ids, read as one piece by every reader, trained on, kept, and given back."""

import json
import pickle
import shutil

import numpy as np
import pytest

import finetune
from ernie.checkpoint import read_params
from ernie.convert import main as convert
from ernie.convert import to_hf, to_params
from finetune.prediction.model import InferenceModel
from finetune.serving.handler import open_handler
from finetune.training.main import main as train
from pretrain.corpus.pieces import PieceMaker
from pretrain.corpus.segment import Sentence as Segmented
from propeller.errors import UserError
from propeller.service.limits import Limits
from reader.squad.reader import Questions, SquadReader
from reader.tagging.sentence import Sentence
from tests.helpers.common import FIXTURES
from tests.helpers.predicting import words
from tests.helpers.tiny import write_tsv
from tokenization import ADDED_TOKENS, TOKENIZERS, build_tokenizer
from tokenization_added import AddedToken, AddedTokens

BERT = FIXTURES / "peers" / "bert"  # 99 rows, of which the last three become added tokens here
EXACT = {"normalized": False, "special": True}
ADDED = {"<e1>": {"id": 96, **EXACT}, "covid": {"id": 97}, "new york": {"id": 98, "single_word": True}}


def flagged(token):
    return {"content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": True,
            "special": False, **ADDED[token]}  # fmt: skip


FORMS = {
    "tokenizer.json": lambda: {"added_tokens": [flagged(token) for token in ADDED], "model": {"type": "WordPiece"}},
    "tokenizer_config.json": lambda: {"added_tokens_decoder": {str(ADDED[t]["id"]): flagged(t) for t in ADDED}},
}


@pytest.fixture
def source(tmp_path):
    """Make a Hugging Face directory with three added tokens: ``source("tokenizer.json")``."""

    def make(*names):
        folder = shutil.copytree(BERT, tmp_path / "hf")
        lines = (folder / "vocab.txt").read_text().splitlines()
        (folder / "vocab.txt").write_text("".join(line + "\n" for line in lines[:96]))
        for name in names:
            (folder / name).write_text(json.dumps(FORMS[name]()))
        return folder

    return make


@pytest.fixture
def model(source, tmp_path):
    to_params("hf", source("tokenizer.json"), tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("names", [("tokenizer.json",), ("tokenizer_config.json",), tuple(FORMS)])
def test_each_is_written_at_its_id(source, tmp_path, names):
    to_params("hf", source(*names), tmp_path / "out")
    assert (tmp_path / "out" / "vocab.txt").read_text().splitlines()[95:] == ["word90", "<e1>", "covid", "new york"]
    assert json.loads((tmp_path / "out" / ADDED_TOKENS).read_text()) == ADDED


def test_of_an_old_file_special_tokens_are_found_as_they_are(source, tmp_path):
    folder = source()
    (folder / ADDED_TOKENS).write_text(json.dumps({token: value["id"] for token, value in ADDED.items()}))
    (folder / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": ["<e1>"]}))
    to_params("hf", folder, tmp_path / "out")
    assert json.loads((tmp_path / "out" / ADDED_TOKENS).read_text()) == {
        "<e1>": {"id": 96, **EXACT}, "covid": {"id": 97}, "new york": {"id": 98}
    }  # fmt: skip


def test_the_five_special_tokens_are_cut_as_in_2019(source, tmp_path):
    folder = source()
    listed = [{"id": number, "content": token, "special": True}
              for number, token in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))]  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": listed, "model": {"type": "WordPiece"}}))
    to_params("hf", folder, tmp_path / "out")
    assert not (tmp_path / "out" / ADDED_TOKENS).exists()
    assert "[MASK]" not in build_tokenizer("FullTokenizer", tmp_path / "out" / "vocab.txt").tokenize("[MASK]")


def test_ids_without_a_token_and_tokens_that_stand_twice(source, tmp_path, caplog):
    folder = source()
    lines = (folder / "vocab.txt").read_text().splitlines()
    lines[10] = lines[20]
    (folder / "vocab.txt").write_text("\n".join(lines))
    (folder / ADDED_TOKENS).write_text('{"<e1>": 98}')
    to_params("hf", folder, tmp_path / "out")
    tokens = (tmp_path / "out" / "vocab.txt").read_text().splitlines()
    assert [tokens[n] for n in (10, 20, 96, 97, 98)] == ["[unused10]", "word15", "[unused96]", "[unused97]", "<e1>"]
    assert "3 ids have no token, or one that stands again later: called [unused10] and so on" in caplog.text
    assert len(build_tokenizer("FullTokenizer", tmp_path / "out" / "vocab.txt").vocab) == 99


# ---------------------------------------------------------------- text

TEXT = "word1 <e1>word2, Covid COVIDword3 New York New Yorks"


@pytest.mark.parametrize("for_cn", [False, True])
def test_a_tokenizer_reads_each_as_one_piece(model, for_cn):
    tokenizer = build_tokenizer("FullTokenizer", model / "vocab.txt", True, for_cn)
    text = "word1<e1>Covid<E1>" if for_cn else TEXT
    pieces = {
        False: ["word1", "<e1>", "word2", "[UNK]", "covid", "covid", "word3", "new york", "[UNK]", "[UNK]"],
        True: ["word1", "<e1>", "covid", "[UNK]", "[UNK]", "[UNK]"],
    }[for_cn]
    assert tokenizer.tokenize(text) == pieces
    assert [token for token, _, _ in tokenizer.tokenize_with_offsets(text)] == pieces
    assert tokenizer.encode(text) == tokenizer.convert_tokens_to_ids(pieces)
    assert pickle.loads(pickle.dumps(tokenizer)).encode(text) == tokenizer.encode(text)
    for token, begin, end in tokenizer.tokenize_with_offsets(text):
        assert token in ("[UNK]", text[begin:end].lower())


def test_a_cased_tokenizer_reads_them_as_they_are_written(model):
    tokenizer = build_tokenizer("FullTokenizer", model / "vocab.txt", False, False)
    assert tokenizer.tokenize("covid Covid <e1>") == ["covid", "[UNK]", "<e1>"]


@pytest.mark.parametrize(
    ("tokens", "text", "pieces"),
    [
        (("caf\u00e9",), "Un CAFE\u0301 Caf\u00e9s", ["Un ", "CAFE\u0301", " ", "Caf\u00e9", "s"]),
        (("<e1>", "<e1><e2>"), "<e1><e2><e1>", ["<e1><e2>", "<e1>"]),
        (("\u65b0\u51a0", "\u65b0"), "\u65b0\u51a0\u65b0\u5e74", ["\u65b0\u51a0", "\u65b0", "\u5e74"]),
        (("a.b",), "a.bacb", ["a.b", "acb"]),
        ((" ",), "a b", ["a b"]),
    ],
)
def test_cutting(tokens, text, pieces):
    added = AddedTokens({token: AddedToken(number) for number, token in enumerate(tokens)})
    added.prepare(do_lower_case=True, for_cn=False)
    parts = added.cut(text)
    assert [part for part, _, _ in parts] == pieces
    assert all(text[at : at + len(part)] == part for part, at, _ in parts)


def test_the_fingerprint_knows_them(model, tmp_path):
    tokenizer = build_tokenizer("FullTokenizer", model / "vocab.txt", True, False)
    shutil.copy(model / "vocab.txt", tmp_path / "vocab.txt")
    bare = build_tokenizer("FullTokenizer", tmp_path / "vocab.txt", True, False)
    assert bare.vocab == tokenizer.vocab
    assert bare.fingerprint != tokenizer.fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "holds no object"),
        ("{", "line 1: not JSON"),
        ('{"<e1>": "96"}', "'<e1>' is \"96\": make it the token's id"),
        ('{"<e1>": 95}', "'<e1>' has the id 95, .*vocab.txt gives it 96: correct the id"),
        ('{"<e2>": 96}', "'<e2>' has the id 96, .*vocab.txt has '<e1>' there: correct"),
    ],
)
def test_a_damaged_file_is_one_line(model, content, message):
    (model / ADDED_TOKENS).write_text(content)
    with pytest.raises(UserError, match=message):
        TOKENIZERS["FullTokenizer"](model / "vocab.txt")


def test_readers_keep_them_whole(model):
    tokenizer = build_tokenizer("FullTokenizer", model / "vocab.txt", True, False)
    sentence = Sentence.of_words("word1 <e1>, Covid", tokenizer)
    assert (sentence.tokens, sentence.begins) == (["word1", "<e1>", ",", "Covid"], [0, 6, 10, 12])
    asked = Questions([("q", "word1 <e1>", "word2 New York word3")])
    reader = SquadReader(asked, tokenizer, max_seq_len=24, batch_size=1)
    document = reader.document(0)
    assert document.tokens == ["word2", "new york", "word3"]
    assert (document.begin[1], document.end[1]) == (6, 14)
    assert reader.query_tokens(0) == ["word1", "<e1>"]
    ids = next(iter(reader.batches()))[0]["src_ids"][0].ravel().tolist()
    assert ids[1:3] == [tokenizer.vocab["word1"], 96]
    assert 98 in ids
    segmented = Segmented(["word1", "<", "e1", ">", "word2"], [], [])
    assert PieceMaker(tokenizer).tokens(segmented).text.decode().replace(",", " ").split() == ["6", "96", "7"]


# ---------------------------------------------------------------- training, prediction, serving, and back


def test_trained_on_kept_served_and_given_back(model, tmp_path):
    rows = [(number % 2, f"word{number} {'<e1>' if number % 2 else 'Covid'} word3") for number in range(16)]
    train_set = write_tsv(tmp_path / "train.tsv", rows)
    flags = {
        "ernie_config_path": model / "ernie_config.json", "vocab_path": model / "vocab.txt",
        "init_pretraining_params": model / "params", "train_set": train_set, "do_val": "false", "do_test": "false",
        "checkpoints": tmp_path / "run", "max_seq_len": 16, "batch_size": 4, "epoch": 3, "learning_rate": 5e-3,
        "warmup_proportion": 0.0, "weight_decay": 0.0, "for_cn": "false", "do_lower_case": "true",
    }  # fmt: skip
    train("run_classifier.py", "classify", words(**flags))
    last = tmp_path / "run" / "last"
    moved = np.abs(read_params(last)["word_embedding"] - read_params(model / "params")["word_embedding"]).max(1)
    assert moved[96] > 1e-3
    assert moved[97] > 1e-3
    assert moved[98] == 0  # "new york" is in no row
    assert json.loads((last / ADDED_TOKENS).read_text()) == ADDED
    texts = ["word1 <e1> word3", "word1 Covid word3"]
    predictor = finetune.load(last, use_cuda="false")
    found = predictor(texts)
    assert [each["label"] for each in found] == ["1", "0"]
    assert convert(["--from", "params", "--to", "hf", str(last), str(tmp_path / "back")]) == 0
    back = tmp_path / "back"
    assert len((back / "vocab.txt").read_text().splitlines()) == 96
    assert json.loads((back / ADDED_TOKENS).read_text()) == {"<e1>": 96, "covid": 97, "new york": 98}
    said = json.loads((back / "tokenizer_config.json").read_text())
    assert said["added_tokens_decoder"] == {
        str(ADDED[token]["id"]): {key: value for key, value in flagged(token).items() if key != "id"} for token in ADDED
    }
    assert said["additional_special_tokens"] == ["<e1>"]
    to_params("hf", back, tmp_path / "again")
    for name in ("vocab.txt", ADDED_TOKENS):
        assert (tmp_path / "again" / name).read_bytes() == (model / name).read_bytes()


def test_a_bundle_reads_and_serves_them(model, tmp_path):
    out = tmp_path / "saved"
    from finetune.embedding.main import main as embed

    rows = write_tsv(tmp_path / "rows.tsv", [("word1 <e1> covid",)], ("text_a",))
    flags = {"init_pretraining_params": model / "params", "ernie_config_path": model / "ernie_config.json",
             "data_set": rows, "output_dir": tmp_path / "vectors", "save_inference_model_path": out,
             "max_seq_len": 16}  # fmt: skip
    embed("ernie_encoder.py", words(**flags))
    bundle = next(out.iterdir())
    served = InferenceModel.open(bundle, use_cuda="false")
    assert (bundle / ADDED_TOKENS).read_bytes() == (model / ADDED_TOKENS).read_bytes()
    assert served.tokenizer.encode("<e1>") == [96]
    handler = open_handler(bundle)
    job = handler.parse({"texts": ["word1 <e1> covid"]}, Limits())
    assert job.instances[0]["src_ids"].ravel().tolist() == [2, 6, 96, 97, 3]
    (bundle / ADDED_TOKENS).unlink()
    with pytest.raises(UserError, match="added_tokens.json: missing from the bundle"):
        InferenceModel.open(bundle, use_cuda="false")


def test_transformers_reads_them_too(model, tmp_path):
    transformers = pytest.importorskip("transformers")
    to_hf(model, tmp_path / "back")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    ours = build_tokenizer("FullTokenizer", model / "vocab.txt", True, False)
    assert theirs(TEXT, add_special_tokens=False)["input_ids"] == ours.encode(TEXT)
