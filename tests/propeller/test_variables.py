"""Files of variables: byte-compatible with those of Paddle Fluid; whatever else is in one is named.

pytest -q -x tests/propeller/test_variables.py
"""

import os
import resource

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from propeller.errors import UserError
from propeller.variables import read_header, read_variable, to_float32, write_variable
from tests.helpers.common import GOLDEN

DIRECTORIES = sorted(GOLDEN.glob("3_model/*/params")) + sorted(GOLDEN.glob("6_cli/*_params"))
DIRECTORIES += sorted(GOLDEN.glob("4_optim/*_persistables"))

# A float32 [2, 3] variable spelled out byte by byte, so that the layout is pinned without the recorded cases.
STREAM = bytes(8 + 4 + 4) + b"\x06\0\0\0" + b"\x08\x05\x10\x02\x10\x03" + np.arange(6, dtype="<f4").tobytes()


@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.parent.name + "/" + path.name)
def test_every_recorded_file_is_written_back_byte_for_byte(directory, tmp_path):
    count = 0
    for path in directory.iterdir():
        write_variable(tmp_path / path.name, read_variable(path))
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path
        count += 1
    assert count > 20


def test_the_layout(tmp_path):
    (tmp_path / "w").write_bytes(STREAM)
    np.testing.assert_array_equal(read_variable(tmp_path / "w"), np.arange(6, dtype=np.float32).reshape(2, 3))
    write_variable(tmp_path / "again", np.arange(6, dtype=np.float32).reshape(2, 3))
    assert (tmp_path / "again").read_bytes() == STREAM


DTYPES = ["bool", "i2", "i4", "i8", "f2", "f4", "f8", "u1", "i1", "u2"]


@settings(deadline=None)
@given(
    array=st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5))
    )
)
def test_any_array_survives(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("any") / "x"
    write_variable(path, array)
    again = read_variable(path)
    assert again.dtype == array.dtype
    assert again.shape == array.shape
    assert again.tobytes() == array.tobytes()


def test_big_endian_transposed_and_wide_arrays(tmp_path):
    for array in (np.arange(6, dtype=">f4"), np.arange(600, dtype="f4").reshape(2, 300).T, np.float32(3)):
        write_variable(tmp_path / "x", array)
        np.testing.assert_array_equal(read_variable(tmp_path / "x"), array)


def test_bfloat16_bits_become_float32():
    bits = np.array([0x3F80, 0xC000, 0x7F80], dtype=np.uint16)
    np.testing.assert_array_equal(to_float32(bits), np.array([1, -2, np.inf], np.float32))


def test_a_type_paddle_lacks_is_refused(tmp_path):
    with pytest.raises(UserError, match="complex64"):
        write_variable(tmp_path / "x", np.zeros(2, "c8"))
    assert not (tmp_path / "x").exists()


def header(description, prefix=bytes(16)):
    return prefix + len(description).to_bytes(4, "little", signed=True) + description


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes, cut short"),
        (STREAM[:10], "10 bytes, cut short"),
        (STREAM[:22], "22 bytes, cut short"),
        (STREAM[:-1], r"49 bytes, cut short: float32 of shape \[2, 3\] takes 50"),
        (STREAM + b"\0", "51 bytes, with bytes left over"),
        (b"\x01" + STREAM[1:], "not a Paddle variable file"),
        (b'{"a": "this is some JSON text"}', "not a Paddle variable file"),
        (STREAM[:4] + b"\x01" + STREAM[5:], "LoD"),
        (STREAM[:16] + b"\xff\xff\xff\xff" + STREAM[20:], "not a Paddle variable file"),
        (STREAM[:16] + b"\xff\xff\xff\x7f" + STREAM[20:], "not a Paddle variable file"),
        (header(b"\x08\x63"), "data type code 99"),
        (header(b"\x10\x02"), "data type code None"),
        (header(b"\x08\x05\x10" + b"\xff" * 9 + b"\x01"), "a dimension is -1"),
        (header(b"\x08\x05\x10" + b"\xff" * 11), "damaged tensor description"),
        (header(b"\x08\x05\x10\x80"), "damaged tensor description"),
        (header(b"\x08\x05\x1a\x02"), "damaged tensor description"),
        (header(b"\x08\x05" + (b"\x10" + b"\xff" * 8 + b"\x7f") * 3), "cut short"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, words):
    path = tmp_path / "word_embedding"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        read_variable(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@given(content=st.binary(max_size=80) | st.binary(max_size=40).map(lambda tail: STREAM[:16] + tail))
def test_no_bytes_do_worse_than_a_user_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "x"
    path.write_bytes(content)
    try:
        array = read_variable(path)
    except UserError:
        return
    assert array.nbytes <= len(content)


def test_an_absurd_size_is_refused_without_allocating(tmp_path):
    (tmp_path / "w").write_bytes(header(b"\x08\x05\x10" + b"\xff" * 5 + b"\x7f") + bytes(64))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="cut short"):
        read_variable(tmp_path / "w")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000  # KiB


def test_a_file_cut_between_header_and_data(tmp_path):
    (tmp_path / "w").write_bytes(STREAM)
    variable = read_header(tmp_path / "w")
    os.truncate(variable.path, 40)
    with pytest.raises(UserError, match="became shorter"):
        variable.read()
    variable.path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        variable.read()
