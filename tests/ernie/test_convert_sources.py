"""ernie.convert of models as they are found: prefixes, shards, other precisions, vocabularies."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ernie.convert import to_hf, to_params
from propeller.errors import UserError
from tests.helpers.peers import PEERS, converted


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
