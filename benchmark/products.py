"""Matrix products on one core by the two libraries in Paddle's wheel: MKL's small build and oneDNN.

    python benchmark/products.py

GFLOP/s, the best of 12, of the products that the layers of 256 and 768 make over 256 tokens, and of those that the
gradients of their weights make. Paddle's own products on a CPU call the first, the operators of ernie/operators the
second. The order of the two alternates.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402

from propeller import runtime  # noqa: E402

TRIES = 12
SHAPES = [  # m, n, k, whether a and b are stored transposed
    (256, 768, 256, False, False), (256, 256, 1024, False, True), (256, 1024, 4096, True, False),
    (256, 2304, 768, False, False), (256, 768, 3072, False, True), (768, 3072, 1024, True, False),
]  # fmt: skip


def libraries():
    """Name -> function(m, n, k, transpose a, transpose b, a, b, c) that fills c."""
    runtime.prepare()  # MKL with the kernels that it has here at best
    import paddle

    folder = Path(paddle.__file__).parent / "libs"
    mkl, onednn = ctypes.CDLL(str(folder / "libmklml_intel.so")), ctypes.CDLL(str(folder / "libdnnl.so.3"))
    whole, number = ctypes.c_int64, ctypes.c_float

    def pointer(array):
        return array.ctypes.data_as(ctypes.c_void_p)

    def by_mkl(m, n, k, ta, tb, a, b, c):
        mkl.cblas_sgemm(101, 111 + ta, 111 + tb, m, n, k, number(1), pointer(a), a.shape[1], pointer(b), b.shape[1],
                        number(0), pointer(c), n)  # fmt: skip

    def by_onednn(m, n, k, ta, tb, a, b, c):
        letters = [ctypes.c_char(b"T" if each else b"N") for each in (ta, tb)]
        status = onednn.dnnl_sgemm(*letters, whole(m), whole(n), whole(k), number(1), pointer(a), whole(a.shape[1]),
                                   pointer(b), whole(b.shape[1]), number(0), pointer(c), whole(n))  # fmt: skip
        if status:
            raise SystemExit(f"dnnl_sgemm ended with status {status}")

    return {"MKL": by_mkl, "oneDNN": by_onednn}


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    found = libraries()
    draw = np.random.default_rng(0)
    print(f"{'product':>30} {'MKL':>6} {'oneDNN':>7} {'ratio':>6}")
    for m, n, k, ta, tb in SHAPES:
        a = draw.standard_normal((k, m) if ta else (m, k)).astype("float32")
        b = draw.standard_normal((n, k) if tb else (k, n)).astype("float32")
        expected = (a.T if ta else a) @ (b.T if tb else b)
        seconds = {}
        for _ in range(TRIES):
            for name, product in found.items():
                c = np.zeros((m, n), "float32")
                began = time.perf_counter()
                product(m, n, k, ta, tb, a, b, c)
                seconds[name] = min(seconds.get(name, 1e9), time.perf_counter() - began)
                np.testing.assert_allclose(c, expected, atol=1e-4 * k)
        rates = {name: 2 * m * n * k / took / 1e9 for name, took in seconds.items()}
        name = f"[{m}, {k}] x [{k}, {n}]"
        print(f"{name:>30} {rates['MKL']:6.0f} {rates['oneDNN']:7.0f} {rates['oneDNN'] / rates['MKL']:6.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
