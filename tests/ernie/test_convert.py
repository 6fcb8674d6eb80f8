"""ernie.convert: names, transposes and settings, on models that transformers made and computed."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ernie.checkpoint import read_params, write_params
from ernie.config import ErnieConfig
from ernie.convert import main, to_hf, to_params
from ernie.foreign import encoder_shapes
from propeller.errors import UserError
from tests.helpers.common import FIXTURES, GOLDEN, ROOT
from tests.helpers.numpy_ernie import encode

PEERS = FIXTURES / "peers"


@pytest.fixture
def peer(tmp_path):
    """A copy of a peer's directory, to be changed: ``peer("bert")``."""
    return lambda name: shutil.copytree(PEERS / name, tmp_path / name)


@pytest.fixture
def edited(peer):
    """A copy of the BERT peer with its tensors or settings changed by a function."""

    def edit(change_tensors=None, change_config=None, name="bert"):
        folder = peer(name)
        tensors, values = load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())
        for change, content in ((change_tensors, tensors), (change_config, values)):
            if change:
                change(content)
        (folder / "model.safetensors").unlink()
        save_file(tensors, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(values))
        return folder

    return edit


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


def converted(folder, out, **options):
    to_params("hf", folder, out, **options)
    return read_params(out / "params")


def test_without_prefix_with_buffers_and_with_tensorflow_names(edited, tmp_path):
    wanted = converted(PEERS / "bert", tmp_path / "plain")

    def rename(tensors):
        for name in list(tensors):
            new = name[5:] if name.startswith("bert.") else name
            new = new.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            tensors[new] = tensors.pop(name)
        tensors["embeddings.position_ids"] = np.arange(40).reshape(1, 40)

    found = converted(edited(rename), tmp_path / "renamed")
    assert set(found) == set(wanted)
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_tied_weights_saved_twice_and_untied_ones(edited, tmp_path):
    def tie(tensors):
        tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].copy()
        tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"].copy()

    folder = edited(tie)
    assert "mask_lm_out_fc.w_0" not in converted(folder, tmp_path / "tied")
    shutil.rmtree(folder)

    def untie(tensors):
        tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"] + 1

    arrays = converted(edited(untie), tmp_path / "untied")
    np.testing.assert_array_equal(arrays["mask_lm_out_fc.w_0"], arrays["word_embedding"].T + 1)
    to_hf(tmp_path / "untied", tmp_path / "hf")
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["tie_word_embeddings"] is False


def test_shards(peer, tmp_path):
    folder = peer("ernie")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for file, part in shards.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, part in shards.items() for name in part}}))
    wanted, found = converted(PEERS / "ernie", tmp_path / "one"), converted(folder, tmp_path / "two")
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match="model-00002-of-00002.safetensors: not a readable"):
        converted(folder, tmp_path / "three")
    index.write_text(json.dumps({"weight_map": {"a": "../../secret.safetensors"}}))
    with pytest.raises(UserError, match="not the name of a file beside it"):
        converted(folder, tmp_path / "three")


def test_half_precision(edited, tmp_path):
    wanted = converted(PEERS / "ernie", tmp_path / "full")
    folder = edited(lambda t: t.update({k: v.astype(np.float16) for k, v in t.items()}), name="ernie")
    for name, array in converted(folder, tmp_path / "half").items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, wanted[name], rtol=1e-3, atol=1e-6)


def write_bfloat16(path, tensors):
    """A safetensors file by hand, since numpy has no bfloat16: u64 length, JSON header, data."""
    header, data = {}, b""
    for name, array in tensors.items():
        raw = (np.ascontiguousarray(array).view(np.uint32) >> 16).astype("<u2").tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": "BF16", "shape": list(array.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_bfloat16(peer, tmp_path):
    folder = peer("ernie")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    write_bfloat16(folder / "model.safetensors", tensors)
    wanted = converted(PEERS / "ernie", tmp_path / "full")
    for name, array in converted(folder, tmp_path / "bf16").items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, wanted[name], rtol=1 / 128, atol=0)


def test_a_vocabulary_from_tokenizer_json(peer, tmp_path):
    folder = peer("bert")
    tokens = (folder / "vocab.txt").read_text().split()
    (folder / "vocab.txt").unlink()
    vocab = {token: index for index, token in reversed(list(enumerate(tokens)))}
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(json.dumps({"model": {"type": "WordPiece", "vocab": vocab}}))
    to_params("hf", folder, tmp_path / "out")
    assert (tmp_path / "out" / "vocab.txt").read_text().split() == tokens
    for model in ({"type": "BPE", "vocab": vocab}, {"type": "WordPiece", "vocab": {**vocab, "gap": 100}}):
        tokenizer.write_text(json.dumps({"model": model}))
        with pytest.raises(UserError, match="tokenizer.json: "):
            to_params("hf", folder, tmp_path / "other")
    tokenizer.unlink()
    with pytest.raises(UserError, match="neither vocab.txt nor tokenizer.json"):
        to_params("hf", folder, tmp_path / "other")


@pytest.mark.parametrize("change", [
    lambda data: b"\xef\xbb\xbf" + data,
    lambda data: data.replace(b"\n", b"\r\n"),
    lambda data: data.rstrip(b"\n"),
    lambda data: b"".join(b"%s\t%d\n" % (token, number) for number, token in enumerate(data.split())),
])  # fmt: skip
def test_a_vocabulary_as_editors_save_it(peer, tmp_path, change):
    folder = peer("bert")
    whole = (folder / "vocab.txt").read_bytes()
    (folder / "vocab.txt").write_bytes(change(whole))
    to_params("hf", folder, tmp_path / "out")
    assert (tmp_path / "out" / "vocab.txt").read_bytes() == whole


@pytest.mark.parametrize("key", ["type_vocab_size", "architectures", "intermediate_size", "pad_token_id", "model_type"])
def test_a_config_without_a_key(edited, tmp_path, key):
    folder = edited(None, lambda config: config.pop(key))
    if key == "intermediate_size":  # its default is 3072, which these weights have not
        with pytest.raises(UserError, match="its sizes make .*3072.*: give the config.json that was saved with these"):
            converted(folder, tmp_path / "out")
        return
    assert converted(folder, tmp_path / "out")["sent_embedding"].shape == (2, 32)


def test_shards_with_a_prefix_and_a_mark_before_the_config(edited, tmp_path):
    folder = edited(lambda t: [t.__setitem__(f"module.{name}", t.pop(name)) for name in list(t)])
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    for file, part in (("a.safetensors", names[:5]), ("b.safetensors", names[5:])):
        save_file({name: tensors[name] for name in part}, folder / file)
    placed = {name: "a.safetensors" if name in names[:5] else "b.safetensors" for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    (folder / "config.json").write_bytes(b"\xef\xbb\xbf" + (folder / "config.json").read_bytes())
    wanted, found = converted(PEERS / "bert", tmp_path / "one"), converted(folder, tmp_path / "two")
    assert wanted.keys() == found.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_a_model_without_pooler(edited, tmp_path):
    def remove(tensors):
        for name in [name for name in tensors if "pooler" in name]:
            del tensors[name]

    folder = edited(remove)
    with pytest.raises(UserError, match="has no pooler: --init_pooler"):
        converted(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    arrays = converted(folder, tmp_path / "out", init_pooler=True)
    assert 0.01 < arrays["pooled_fc.w_0"].std() < 0.02
    assert abs(arrays["pooled_fc.w_0"]).max() <= 0.04
    assert not arrays["pooled_fc.b_0"].any()


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
