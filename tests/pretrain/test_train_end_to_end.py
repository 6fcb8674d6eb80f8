"""Three raw documents -> shards -> pre-training, killed and continued -> masks filled -> a fine-tuned classifier."""

import json
import signal
import time

import numpy as np

from ernie.checkpoint import read_params
from finetune.training.main import main as finetune
from pretrain.build_data import main as build_data
from pretrain.build_vocab import main as build_vocab
from pretrain.training.runner import main
from tests.helpers.pretraining import pretrain_flags
from tests.helpers.runs import read_records
from tests.helpers.tiny import CONFIG, flags, sentences, write_tsv
from tests.helpers.train_process import start


def documents():
    """Three documents of sentences of the tiny task, a line each."""
    texts = [f"{text.replace('##', '')} ." for _, text in sentences(90, 5)]
    return "\n".join("".join(f"{text}\n" for text in texts[at : at + 30]) for at in (0, 30, 60))


def test_from_three_documents_to_a_classifier(data, tmp_path, capsys):
    (tmp_path / "three.txt").write_text(documents())
    model, shards = tmp_path / "model", tmp_path / "shards"
    model.mkdir()
    build_vocab(["--input", str(tmp_path / "three.txt"), "--output", str(model / "vocab.txt"), "--size", "60"])
    size = len((model / "vocab.txt").read_text().splitlines())
    (model / "ernie_config.json").write_text(json.dumps({**CONFIG, "vocab_size": size}))
    built = ["--input", str(tmp_path / "three.txt"), "--output", str(shards), "--segmenter", "english"]
    build_data([*built, "--vocab_path", str(model / "vocab.txt"), "--max_seq_len", "32"])
    stats = json.loads((shards / "stats.json").read_text())
    assert stats["documents"] == 3

    given = {"train_filelist": shards / "filelist", "valid_filelist": shards / "filelist", "max_seq_len": 32}
    given |= {"num_train_steps": 24, "save_steps": 6, "epoch": 50, "validation_steps": 12}
    arguments = pretrain_flags(model, shards, tmp_path / "run", **given)
    process = start(arguments)
    deadline = time.monotonic() + 240
    while not (tmp_path / "run" / "step_6").is_dir() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    main("train.py", arguments)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["finished"], record["steps"]) == (True, 24)
    records = read_records(tmp_path / "run")
    losses = [entry["loss"] for entry in records if entry["event"] == "dev"]
    assert losses[-1] < losses[0]

    capsys.readouterr()
    main("train.py", [*arguments, "--init_checkpoint", str(tmp_path / "run" / "last"), "--predict_mask", "the [MASK]"])
    assert capsys.readouterr().out.count("\n") == 6

    write_tsv(data / "test.tsv", sentences(7, 3))
    finetune("run_classifier.py", "classify", flags(tmp_path / "run", data, tmp_path / "tuned", epoch=1))
    before, after = read_params(tmp_path / "run" / "params"), read_params(tmp_path / "tuned" / "last")
    assert before["word_embedding"].shape == after["word_embedding"].shape
    assert not np.array_equal(before["word_embedding"], after["word_embedding"])
    assert (tmp_path / "tuned" / "test_out.tsv.0.5").read_text().count("\n") == 7
