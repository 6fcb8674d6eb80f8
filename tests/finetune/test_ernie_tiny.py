"""ERNIE tiny from a PaddleNLP folder to predictions: its tokenizer goes along, and its dictionary is never pickled.

The sentencepiece model is trained here, the weights are random and narrow.
"""

import json
import pickle

import numpy as np
import pytest
from safetensors.numpy import save_file

import finetune
from ernie.checkpoint import read_params
from ernie.config import ErnieConfig
from ernie.convert import main as convert
from ernie.foreign import encoder_shapes, name_table
from ernie.memory import parameters
from finetune.prediction.main import main as predict
from finetune.training.main import main as train
from tests.helpers.common import ROOT
from tests.helpers.texts import SPECIAL, write_vocab
from tests.helpers.tiny import CONFIG, write_tsv

WORDS = ("天气", "很好", "不好", "电影", "今天")
ROWS = [(1, "今天天气很好"), (0, "电影不好"), (1, "电影很好 good"), (0, "天气 不好")]


def test_the_configuration_is_that_of_the_released_model():
    config = ErnieConfig(ROOT / "config" / "ernie_tiny_zh.json")
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (3, 1024, 16)
    assert (config.intermediate_size, config.vocab_size, config.max_position_embeddings) == (4096, 50006, 600)
    assert (config.hidden_act, config.sent_type_vocab_size, config.use_task_id) == ("relu", 2, False)
    layer = 12 * 1024 * 1024 + 13 * 1024  # four square products, two of the feed-forward layer; biases, two norms
    assert parameters(config) == (50006 + 600 + 2) * 1024 + 2 * 1024 + 3 * layer + 1024 * 1024 + 1024


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder as PaddleNLP has ERNIE tiny."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("paddlenlp") / "ernie-tiny"
    folder.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS), "good film", *WORDS] * 20),
        model_prefix=str(folder / "spm_cased_simp_sampled"), vocab_size=40, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    (folder / "spm_cased_simp_sampled.vocab").unlink()
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm_cased_simp_sampled.model"))
    pieces = [model.id_to_piece(number) for number in range(3, model.get_piece_size())]
    write_vocab(folder / "vocab.txt", [*SPECIAL, *pieces])
    (folder / "dict.wordseg.pickle").write_bytes(pickle.dumps(dict.fromkeys(WORDS, 1), 2))
    vocab_size = len(SPECIAL) + len(pieces)
    values = {**CONFIG, "hidden_act": "relu", "vocab_size": vocab_size, "use_task_id": False, "num_hidden_layers": 3}
    config, random, tensors = ErnieConfig(values), np.random.RandomState(0), {}
    shapes = encoder_shapes(config)
    for row in name_table(3):
        if row.params in shapes:
            tensors[f"ernie.{row.paddlenlp}"] = (random.standard_normal(shapes[row.params]) * 0.1).astype("float32")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "np"})
    foreign = {**values, "type_vocab_size": 2, "intermediate_size": 128, "model_type": "ernie"}
    del foreign["sent_type_vocab_size"]
    (folder / "config.json").write_text(json.dumps({**foreign, "architectures": ["ErnieModel"]}))
    return folder


def test_from_paddlenlp_to_predictions(source, tmp_path):
    model, run = tmp_path / "model", tmp_path / "run"
    assert convert(["--from", "paddlenlp", "--to", "params", str(source), str(model)]) == 0
    assert (model / "word_dict.txt").read_text(encoding="utf8").split() == sorted(WORDS)
    flags = ["--use_cuda", "false", "--ernie_config_path", model / "ernie_config.json", "--vocab_path",
             model / "vocab.txt", "--init_pretraining_params", model / "params", "--num_labels", "2", "--max_seq_len",
             "24", "--epoch", "1", "--batch_size", "2", "--train_set", write_tsv(tmp_path / "train.tsv", ROWS),
             "--do_val", "false", "--do_test", "false", "--checkpoints", run]  # fmt: skip
    assert train("run_classifier.py", "classify", [str(word) for word in flags]) == 0
    last = run / "last"
    for name in ("sentencepiece.model", "word_dict.txt", "vocab.txt"):  # it can be used alone
        assert (last / name).read_bytes() == (model / name).read_bytes()
    assert json.loads((last / "checkpoint.json").read_text())["tokenizer"] == "WSSPTokenizer"
    assert "word_dict.txt" not in read_params(last)
    wanted = finetune.load(last)([text for _, text in ROWS])
    assert len(wanted) == len(ROWS)
    data = write_tsv(tmp_path / "new.tsv", [(text,) for _, text in ROWS], ("text_a",))
    common = ["--use_cuda", "false", "--predict_set", data, "--output_format", "jsonl"]
    first = [*common, "--init_checkpoint", str(last), "--output", str(tmp_path / "a.jsonl"),
             "--save_inference_model_path", str(tmp_path / "saved")]  # fmt: skip
    assert predict("infer_classifyer.py", ("classify", "regression"), first) == 0
    bundle = next((tmp_path / "saved").iterdir())
    assert (bundle / "word_dict.txt").read_bytes() == (model / "word_dict.txt").read_bytes()
    second = [*common, "--inference_model", str(tmp_path / "saved"), "--output", str(tmp_path / "b.jsonl")]
    assert predict("infer_classifyer.py", ("classify", "regression"), second) == 0
    for name in ("a.jsonl", "b.jsonl"):
        rows = [json.loads(line) for line in (tmp_path / name).read_text(encoding="utf8").splitlines()]
        for row, expected in zip(rows, wanted):
            assert row["probabilities"]["1"] == pytest.approx(expected["probabilities"]["1"], abs=1e-5)
    assert not list(tmp_path.rglob("*.pickle"))
