"""Five seconds of the requests of benchmark/fuzz_service.py, which has the minute."""

from benchmark.fuzz_service import run


def test_requests_that_nobody_would_write():
    seen = run(5)
    assert seen[200]
    assert seen[400]
