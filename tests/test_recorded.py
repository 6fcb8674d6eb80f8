"""The committed cases of 2019 are the recorded ones, where the recordings lie beside the repository."""

import pytest

from tests.helpers import recorded
from tests.helpers.common import SHARED


@pytest.mark.beside("golden")
def test_the_archive_holds_the_recordings():
    golden, unpacked = SHARED / "golden", recorded.folder()
    assert len(recorded.names(golden)) > 300
    for name in recorded.names(golden):
        assert recorded.content(golden / name) == recorded.content(unpacked / name), name


@pytest.mark.beside("golden", "vocab")
@pytest.mark.parametrize("name", ["vocab_zh.txt", "vocab_en.txt"])
def test_the_vocabularies_have_the_published_ids(name, tmp_path):
    made = recorded.reduced(SHARED / "golden", SHARED / "vocab" / name, tmp_path / name)
    assert (recorded.folder() / "vocab" / name).read_bytes() == made


def test_the_archive_is_small():
    assert recorded.ARCHIVE.stat().st_size < 5_000_000
