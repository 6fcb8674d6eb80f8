"""Which build of shards was made with other pieces than a run's."""

import json

import pytest

from reader.pretraining.shard_check import of_other_tokens


@pytest.mark.parametrize("folder", ["shards", "knowledge_masking/shards"], ids=["one task", "tasks"])
@pytest.mark.parametrize(
    ("record", "known"),
    [
        ({"tokenizer_sha256": "other"}, True),
        ({"tokenizer_sha256": "mine"}, False),
        ({"version": 1}, False),
        (None, False),
    ],
    ids=["another", "the same", "not said", "no record"],
)
def test_the_record_of_the_build_is_named(tmp_path, folder, record, known):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "text-00000.gz").touch()
    (tmp_path / "filelist").write_text(f"{folder}/text-00000.gz\t1\n")
    if record is not None:
        (tmp_path / "build.json").write_text(json.dumps(record))
    assert of_other_tokens(tmp_path / "filelist", "mine") == (tmp_path / "build.json" if known else None)
