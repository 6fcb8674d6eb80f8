"""finetune.embedding.files: `.npy` files grown in any order, folders that are whole or as they were."""

import errno
import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.embedding.files import (
    COUNTS,
    MANIFEST,
    PARTIAL,
    STATES,
    TOKENS,
    VECTORS,
    EmbeddingFolder,
    NpyFile,
    vectors_of,
)
from propeller.errors import UserError


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=9),
    st.sampled_from(["<f4", "<i4", "<f8"]),
    st.lists(st.integers(1, 3), max_size=2),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_a_file_is_what_numpy_saves(tmp_path, sizes, dtype, row_shape, known, random):
    total = sum(sizes)
    array = np.arange(total * int(np.prod(row_shape, dtype=int))).reshape(total, *row_shape).astype(dtype)
    parts = list(zip(np.cumsum([0, *sizes]).tolist(), sizes))
    random.shuffle(parts)
    for path in tmp_path.iterdir():
        path.unlink()
    file = NpyFile(tmp_path / "a.npy", dtype, row_shape, total if known else None)
    for first, size in parts:
        file.write(first, array[first : first + size])
    with pytest.raises(ValueError, match=r"magic|pickle|header"):
        np.load(tmp_path / "a.npy")  # as long as it is not finished
    file.finish(total)
    np.save(tmp_path / "b.npy", array)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_a_header_holds_the_shape_of_any_disk(tmp_path):
    file = NpyFile(tmp_path / "a.npy", "<f4", [1024])
    assert len(file._header(2**60)) == 128
    file.close()
    file.close()


def test_rows_that_were_not_written_are_found(tmp_path):
    file = NpyFile(tmp_path / "a.npy", "<f4", [2])
    file.write(0, np.ones((3, 2)))
    with pytest.raises(ValueError, match="152 bytes for 4 rows"):
        file.finish(4)
    file.close()


def item_of(rows, lengths, starts):
    return SimpleNamespace(rows=np.array(rows), lengths=np.array(lengths, np.int32), starts=np.array(starts))


def fill(folder):
    """Two rows of 3 and 1 tokens, the longer one first in its batch and second in the file."""
    states = np.arange(12, dtype="float32").reshape(2, 3, 2)
    folder.write(item_of([1, 0], [3, 1], [1, 0]), np.array([[1, 1], [0, 0]], "float32"), states)
    folder.tokens.write("a\nb\tc\td\n")


def test_a_folder(tmp_path):
    with EmbeddingFolder(tmp_path / "a" / "b", 2, 2) as folder:
        assert folder.scratch.is_dir()
        fill(folder)
        folder.finish({"pooling": "cls"})
    out = tmp_path / "a" / "b"
    assert sorted(path.name for path in out.iterdir()) == sorted([VECTORS, STATES, COUNTS, TOKENS, MANIFEST])
    assert np.load(out / VECTORS).tolist() == [[0, 0], [1, 1]]
    assert np.load(out / STATES).tolist() == [[6, 7], [0, 1], [2, 3], [4, 5]]
    assert np.load(out / COUNTS).tolist() == [1, 3]
    manifest = json.loads((out / MANIFEST).read_text())
    assert (manifest["rows"], manifest["tokens"], manifest["hidden_size"], manifest["pooling"]) == (2, 4, 2, "cls")


def fail(folder, error):
    with folder as opened:
        fill(opened)
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), UserError("row 3"), OSError(errno.ENOSPC, "No space left")])
def test_what_fails_leaves_the_folder_as_it_was(tmp_path, error):
    with EmbeddingFolder(tmp_path, 2, 2) as folder:
        fill(folder)
        folder.finish({})
    (tmp_path / PARTIAL).mkdir()  # of a run that was killed
    (tmp_path / PARTIAL / VECTORS).write_text("half")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    kind = UserError if isinstance(error, OSError) else type(error)
    with pytest.raises(kind) as caught:
        fail(EmbeddingFolder(tmp_path, 2, 2), error)
    if isinstance(error, OSError):
        assert str(caught.value).startswith(f"{tmp_path}: cannot be written (No space left): make room there")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_two_runs_do_not_write_at_once(tmp_path):
    with EmbeddingFolder(tmp_path, 2, 2) as folder:
        with pytest.raises(UserError, match="another run writes there"), EmbeddingFolder(tmp_path, 2, 2):
            pass
        fill(folder)
        folder.finish({})
    assert np.load(tmp_path / VECTORS).shape == (2, 2)


def test_vectors():
    outputs = {"mean": np.array([[3, 4], [0, 0]], "float32"), "cls": np.ones((2, 2), "float32")}
    assert vectors_of(outputs, "mean") is outputs["mean"]
    found = vectors_of(outputs, "mean", normalize=True)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0]])
