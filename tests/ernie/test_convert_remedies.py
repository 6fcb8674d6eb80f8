"""What each message of ernie.convert says to do is done here, and the conversion succeeds."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ernie.convert import main
from propeller.errors import UserError
from tests.helpers.common import FIXTURES

BERT = FIXTURES / "peers" / "bert"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(BERT, tmp_path / "hf")


def change_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file(change(tensors) or tensors, folder / "model.safetensors")


def change_json(folder, name, **values):
    path = folder / name
    known = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**known, **values}))


def converts(folder, *flags, source_format="hf"):
    return main(["--from", source_format, "--to", "params", *flags, str(folder), str(folder.with_name("out"))])


def refusal(folder, *flags, **options):
    with pytest.raises(UserError) as error:
        converts(folder, *flags, **options)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


def flags_of(message):
    """The flags that a message says to give, with their values."""
    words = re.findall(r"--\w+|(?<=--prefix )\S+|(?<=--from )\w+", message)
    assert words
    return words


def test_a_pooler_is_drawn(folder):
    change_weights(folder, lambda t: {name: array for name, array in t.items() if "pooler" not in name})
    assert converts(folder, *flags_of(refusal(folder))) == 0


def test_weights_without_a_place(folder):
    change_weights(folder, lambda t: t.update({"bert.embeddings.extra": np.zeros(3, "float32")}))
    assert converts(folder, *flags_of(refusal(folder))) == 0


@pytest.mark.parametrize("flags", [(), ("--init_pooler",), ("--ignore_unexpected",)])
def test_a_prefix_needs_no_remedy(folder, flags):
    change_weights(folder, lambda t: {f"module.{name}": array for name, array in t.items()})
    assert converts(folder, *flags) == 0


def test_two_encoders(folder):
    def twice(tensors):
        encoder = {name.removeprefix("bert."): array for name, array in tensors.items() if name.startswith("bert.")}
        return {front + name: array for front in ("doc.", "query.") for name, array in encoder.items()}

    change_weights(folder, twice)
    told = flags_of(refusal(folder))
    assert told == ["--prefix", "doc.", "--ignore_unexpected"]
    wrong = refusal(folder, "--prefix", "dco.", "--ignore_unexpected")
    for prefix in re.search(r"give (\S+) or (\S+)", wrong).groups():
        shutil.rmtree(folder.with_name("out"), ignore_errors=True)
        assert converts(folder, "--prefix", prefix, "--ignore_unexpected") == 0


def test_the_other_library(folder):
    message = refusal(folder, source_format="paddlenlp")
    assert converts(folder, source_format=re.search(r"--from (\w+)", message)[1]) == 0


@pytest.mark.parametrize("layers", [1, 3])
def test_more_or_fewer_layers(folder, layers):
    change_json(folder, "config.json", num_hidden_layers=layers)
    message = refusal(folder)
    if layers == 1:
        assert converts(folder, *flags_of(message)) == 0
        shutil.rmtree(folder.with_name("out"))
    change_json(folder, "config.json", num_hidden_layers=int(re.search(r"make it (\d+)", message)[1]))
    assert converts(folder) == 0


def test_vocab_size(folder):
    change_json(folder, "config.json", vocab_size=97)
    change_json(folder, "config.json", vocab_size=int(re.search(r"make it (\d+)", refusal(folder))[1]))
    assert converts(folder) == 0


def test_a_missing_key(folder):
    whole = (folder / "config.json").read_bytes()
    values = json.loads(whole)
    values.pop("num_attention_heads")
    (folder / "config.json").write_text(json.dumps(values))
    assert "give the model's complete config" in refusal(folder)
    (folder / "config.json").write_bytes(whole)
    assert converts(folder) == 0


@pytest.mark.parametrize(
    ("name", "encoding"), [("vocab.txt", "gb18030"), ("vocab.txt", "utf-16"), ("config.json", "utf-16")]
)
def test_another_encoding(folder, name, encoding):
    text = (folder / name).read_text().replace("word93", "河流").replace("word92", "运河水道")
    (folder / name).write_bytes(text.encode(encoding))
    command = re.search(r"iconv .*", refusal(folder))[0]
    subprocess.run(command, shell=True, check=True)
    assert converts(folder) == 0


def test_vocabularies_that_cannot_be(folder):
    lines = (folder / "vocab.txt").read_text().split()
    (folder / "vocab.txt").write_text("".join(f"{token}\t{98 - number}\n" for number, token in enumerate(lines)))
    assert "line 1: id '98', not 0: sort the file by id" in refusal(folder)
    numbered = [line.split("\t") for line in (folder / "vocab.txt").read_text().splitlines()]
    numbered.sort(key=lambda pair: int(pair[1]))
    (folder / "vocab.txt").write_text("".join(f"{token}\t{number}\n" for token, number in numbered))
    assert converts(folder) == 0
    shutil.rmtree(folder.with_name("out"))
    (folder / "vocab.txt").unlink()
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": {"a": 0}}}))
    assert refusal(folder).endswith("or add its vocab.txt")
    shutil.copy(BERT / "vocab.txt", folder)
    assert converts(folder) == 0


@pytest.mark.parametrize(
    ("token", "number", "words"),
    [
        ("<e1>", 99, "has the id 99, the word embedding only 99 rows: .* or remove the token there"),
        ("<e1>", 98, "has the id 98, which is 'word93' in vocab.txt: correct one"),
        ("word3", 97, "has the id 97, and 8 in vocab.txt: correct one"),
        ("two\nlines", 98, "or a line break, which .* cannot: remove it there"),
        (" ", 98, "remove it there"),
    ],
)
@pytest.mark.parametrize("name", ["added_tokens.json", "tokenizer_config.json"])
def test_added_tokens_without_a_place(folder, name, token, number, words):
    content = {token: number} if name == "added_tokens.json" else {"added_tokens_decoder": {number: {"content": token}}}
    change_json(folder, name, **content)
    message = refusal(folder)
    assert re.search(words, message)
    assert message.startswith(str(folder / name))
    (folder / name).unlink()
    assert converts(folder) == 0


def test_a_target_that_is_there(folder):
    assert converts(folder) == 0
    assert "exists already" in refusal(folder)
    shutil.rmtree(folder.with_name("out"))
    assert converts(folder) == 0


def test_back_to_hugging_face(folder, tmp_path):
    assert converts(folder) == 0
    params = tmp_path / "out"
    (params / "vocab.txt").rename(tmp_path / "vocab.txt")
    arguments = ["--from", "params", "--to", "hf", str(params), str(tmp_path / "back")]
    with pytest.raises(UserError, match="give the model's vocabulary with --vocab_path"):
        main(arguments)
    assert main([*arguments, "--vocab_path", str(tmp_path / "vocab.txt")]) == 0
