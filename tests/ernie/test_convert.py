"""ernie.convert: names, transposes and settings, on models that transformers made and computed."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from ernie.checkpoint import read_params, write_params
from ernie.config import ErnieConfig
from ernie.convert import main, to_hf, to_params
from ernie.foreign import encoder_shapes
from propeller.errors import UserError
from tests.helpers.common import GOLDEN, ROOT
from tests.helpers.numpy_ernie import encode
from tests.helpers.peers import PEERS, converted


@pytest.mark.parametrize("name", ["bert", "ernie"])
def test_converted_weights_compute_what_transformers_computed(name, tmp_path):
    to_params("hf", PEERS / name, tmp_path / "out")
    config, arrays = ErnieConfig(tmp_path / "out" / "ernie_config.json"), read_params(tmp_path / "out" / "params")
    wanted = dict(np.load(PEERS / name / "io.npz", allow_pickle=False))
    encoded, pooled, lm = encode(arrays, config, wanted)
    real = wanted["attention_mask"] > 0
    np.testing.assert_allclose(encoded[real], wanted["last_hidden_state"][real], atol=1e-6)
    np.testing.assert_allclose(pooled, wanted["pooler_output"], atol=1e-6)
    if name == "bert":
        logits = lm @ arrays["word_embedding"].T + arrays["mask_lm_out_fc.b_0"]
        np.testing.assert_allclose(logits[real], wanted["mlm_logits"][real], atol=1e-6)
        nsp = pooled @ arrays["next_sent_fc.w_0"] + arrays["next_sent_fc.b_0"]
        np.testing.assert_allclose(nsp, wanted["nsp_logits"], atol=1e-6)


def test_settings_are_carried(tmp_path):
    to_params("hf", PEERS / "ernie", tmp_path / "out")
    config = ErnieConfig(tmp_path / "out" / "ernie_config.json")
    assert (config.hidden_act, config.layer_norm_eps, config.intermediate_size) == ("relu", 1e-5, 48)
    assert (config.use_task_id, config.task_type_vocab_size, config.sent_type_vocab_size) == (True, 3, 4)
    assert (config.max_position_embeddings, config.vocab_size, config.num_attention_heads) == (40, 99, 4)
    assert (tmp_path / "out" / "vocab.txt").read_bytes() == (PEERS / "ernie" / "vocab.txt").read_bytes()
    files = ["ernie_config.json", "ernie_model.json", "params", "vocab.txt"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == files


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize("name", ["bert", "ernie"])
def test_params_to_hf_and_back_is_byte_identical(name, tmp_path):
    to_params("hf", PEERS / name, tmp_path / "params1")
    to_hf(tmp_path / "params1", tmp_path / "hf")
    to_params("hf", tmp_path / "hf", tmp_path / "params2")
    first, second = (
        {f.name: f.read_bytes() for f in (tmp_path / p / "params").iterdir()} for p in ("params1", "params2")
    )
    assert first == second
    assert ErnieConfig(tmp_path / "params1/ernie_config.json") == ErnieConfig(tmp_path / "params2/ernie_config.json")
    original, back = load_file(PEERS / name / "model.safetensors"), load_file(tmp_path / "hf" / "model.safetensors")
    assert set(original) == set(back)
    assert all(np.array_equal(original[key], back[key]) for key in original)
    old, new = (json.loads((folder / "config.json").read_text()) for folder in (PEERS / name, tmp_path / "hf"))
    assert all(old[key] == value for key, value in new.items() if key != "torch_dtype")


@pytest.mark.parametrize("model", ["v1_relu", "v2_gelu"])
def test_a_recorded_model_to_hf_and_back(model, tmp_path):
    source = tmp_path / "model"
    source.mkdir()
    arrays = read_params(GOLDEN / "3_model" / model / "params")
    heads = [name for name in arrays if name.startswith(("cls_", "next_sent", "mask_lm"))]
    write_params(source / "params", {name: array for name, array in arrays.items() if name not in heads})
    shutil.copy(GOLDEN / "3_model" / model / "ernie_config.json", source)
    (source / "vocab.txt").write_text("".join(f"token{n}\t{n}\n" for n in range(1000)))
    to_hf(source, tmp_path / "hf")
    to_params("hf", tmp_path / "hf", tmp_path / "back")
    for path in (source / "params").iterdir():
        assert (tmp_path / "back" / "params" / path.name).read_bytes() == path.read_bytes()
    assert len(list((tmp_path / "back" / "params").iterdir())) == len(arrays) - len(heads)
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["architectures"] == [
        "BertForSequenceClassification" if model == "v1_relu" else "ErnieForSequenceClassification"
    ]
    assert (tmp_path / "hf" / "vocab.txt").read_text().startswith("token0\ntoken1\n")


@pytest.mark.parametrize("name", ["bert", "ernie"])
def test_transformers_loads_what_is_written(name, tmp_path):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    to_params("hf", PEERS / name, tmp_path / "params")
    to_hf(tmp_path / "params", tmp_path / "hf")
    kind = transformers.BertForPreTraining if name == "bert" else transformers.ErnieModel
    model, report = kind.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    wanted = dict(np.load(PEERS / name / "io.npz", allow_pickle=False))
    feed = {key: torch.from_numpy(wanted[key]) for key in wanted if key.endswith(("_ids", "_mask"))}
    with torch.no_grad():
        pooled = getattr(model, "bert", model).eval()(**feed).pooler_output
    np.testing.assert_allclose(pooled, wanted["pooler_output"], atol=1e-5)


def test_a_head_of_labels_goes_both_ways(edited, tmp_path):
    weight = np.arange(96, dtype=np.float32).reshape(3, 32)

    def add(tensors):
        for name in [name for name in tensors if name.startswith("cls.")]:
            del tensors[name]
        tensors.update({"classifier.weight": weight, "classifier.bias": np.zeros(3, np.float32)})

    for architecture, ours in (
        ("SequenceClassification", "_cls_out_w"),
        ("TokenClassification", "cls_seq_label_out_w"),
    ):
        folder = edited(add, lambda values, a=architecture: values.update(architectures=["BertFor" + a]))
        to_params("hf", folder, tmp_path / architecture)
        np.testing.assert_array_equal(read_params(tmp_path / architecture / "params")[ours], weight.T)
        to_hf(tmp_path / architecture, tmp_path / (architecture + "_hf"))
        np.testing.assert_array_equal(
            load_file(tmp_path / (architecture + "_hf") / "model.safetensors")["classifier.weight"], weight
        )
        described = json.loads((tmp_path / (architecture + "_hf") / "config.json").read_text())
        assert described["id2label"] == {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}
        assert described["label2id"] == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}
        shutil.rmtree(folder)


# ---------------------------------------------------------------- what Hugging Face directories look like


def test_unexpected_weights_are_listed(edited, tmp_path):
    folder = edited(lambda tensors: tensors.update(extra_b=np.zeros(1), extra_a=np.zeros(1)))
    with pytest.raises(UserError, match="no place for 2 weights: extra_a, extra_b: --ignore_unexpected"):
        converted(folder, tmp_path / "out")
    assert "extra_a" not in converted(folder, tmp_path / "out", ignore_unexpected=True)


@pytest.mark.parametrize(
    ("tensors", "config", "words"),
    [
        (
            lambda t: t.pop("bert.encoder.layer.1.output.dense.bias"),
            None,
            "missing, .*encoder_layer_1_ffn_fc_1.b_0: copy",
        ),
        (None, lambda c: c.update(num_hidden_layers=3), "is 3, the weights have 2 layers: make it 2$"),
        (None, lambda c: c.update(num_hidden_layers=1), "is 1, .* 2 layers: make it 2, or .*--ignore_unexpected"),
        (None, lambda c: c.update(vocab_size=98), "is 98, bert.*word_embeddings.weight has 99 rows: make it 99"),
        (None, lambda c: c.update(intermediate_size=128), r"dense.weight \[32, 128\], which is \[32, 48\]: give the"),
        (None, lambda c: c.update(hidden_act="gelu_new"), "config.json: 'hidden_act' 'gelu_new'"),
        (None, lambda c: c.update(position_embedding_type="relative_key"), "'position_embedding_type'"),
        (None, lambda c: c.update(model_type="roberta"), "'model_type' is 'roberta'"),
        (None, lambda c: c.update(is_decoder=True), "'is_decoder' is True"),
        (None, lambda c: c.pop("hidden_size"), "'hidden_size' missing"),
        (lambda t: t.update({"embeddings.LayerNorm.bias": np.zeros(32)}), None, "are the same one"),
    ],
)
def test_a_model_that_does_not_fit_its_config(edited, tmp_path, tensors, config, words):
    with pytest.raises(UserError, match=words) as error:
        converted(edited(tensors, config), tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_damaged_and_missing_files(peer, tmp_path):
    folder = peer("bert")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for content in (whole[:-1], whole[:100], b"", b"\xff" * 100):
        weights.write_bytes(content)
        with pytest.raises(UserError, match="not a readable safetensors file"):
            converted(folder, tmp_path / "out")
    with pytest.raises(UserError, match="nowhere: no such directory; give that of a model"):
        converted(tmp_path / "nowhere", tmp_path / "out")
    weights.unlink()
    with pytest.raises(UserError, match="no model.safetensors and no pytorch_model.bin.*save_pretrained"):
        converted(folder, tmp_path / "out")
    weights.write_bytes(whole)
    (folder / "vocab.txt").write_text("".join(f"t{n}\n" for n in range(100)))
    with pytest.raises(UserError, match="ids up to 99, the word embedding only 99 rows"):
        converted(folder, tmp_path / "out")
    for content, words in (("{", "not JSON"), ("[]", "no JSON object")):
        (folder / "config.json").write_text(content)
        with pytest.raises(UserError, match=words):
            converted(folder, tmp_path / "out")
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match="config.json: cannot be read"):
        converted(folder, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bert"]


def test_to_hf_refuses(tmp_path):
    to_params("hf", PEERS / "ernie", tmp_path / "ernie")
    with pytest.raises(UserError, match="BERT has no task embeddings"):
        to_hf(tmp_path / "ernie", tmp_path / "out", model_type="bert")
    with pytest.raises(UserError, match="exists already"):
        to_hf(tmp_path / "ernie", tmp_path / "ernie")
    (tmp_path / "ernie" / "vocab.txt").write_text("a\t0\nb\t2\n")
    with pytest.raises(UserError, match="line 2: id '2', not 1"):
        to_hf(tmp_path / "ernie", tmp_path / "out")
    config = json.loads((tmp_path / "ernie" / "ernie_config.json").read_text())
    (tmp_path / "ernie" / "ernie_config.json").write_text(json.dumps({**config, "use_task_id": False}))
    with pytest.raises(UserError, match="no place for 1 weights: task_embedding"):
        to_hf(tmp_path / "ernie", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_encoder_shapes_are_those_of_the_weights(tmp_path):
    to_params("hf", PEERS / "ernie", tmp_path / "out")
    config = ErnieConfig(tmp_path / "out" / "ernie_config.json")
    assert encoder_shapes(config) == {n: a.shape for n, a in read_params(tmp_path / "out" / "params").items()}


# ---------------------------------------------------------------- the command


def test_the_command(tmp_path):
    command = [sys.executable, "-m", "ernie.convert", "--from", "hf", "--to", "params", str(PEERS / "bert")]
    result = subprocess.run([*command, str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "39 encoder weights, heads: mask_lm_out_fc.b_0" in result.stdout
    result = subprocess.run([*command, str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == f"error: {tmp_path / 'out'}: exists already: remove it or choose another name\n"


@pytest.mark.parametrize("sides", [("hf", "hf"), ("params", "params"), ("paddlenlp", "hf")])
def test_one_side_must_be_params(tmp_path, sides):
    with pytest.raises(SystemExit, match="2"):
        main(["--from", sides[0], "--to", sides[1], str(tmp_path), str(tmp_path / "out")])
