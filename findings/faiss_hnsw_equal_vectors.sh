#!/bin/sh
# faiss-cpu 1.15.1: many equal vectors spoil an HNSW index for all the others. Copies of one vector are linked with each
# other only, a search that comes upon them does not leave them, and the nearest vector is missed although it is nothing
# like the copies. 1,000 copies among 5,000 vectors, as a standard answer among reviews, are enough. There is no warning;
# 16 times the `efSearch` mends little of it. With every vector once the same graph finds all.
# Output seen (Python 3.11, numpy 2.4.6):
#   0 copies, efSearch 128: finds nearly all of the nearest
#   1000 copies, efSearch 128: misses more than one in ten of the nearest
#   1000 copies, efSearch 2048: misses more than one in ten of the nearest
. "$(dirname "$0")/common.sh"
in_venv faiss-cpu==1.15.1 numpy==2.4.6
cat >copies.py <<'PYTHON'
import faiss
import numpy as np

faiss.omp_set_num_threads(1)
random = np.random.default_rng(0)
data = random.normal(size=(4000, 32)).astype("float32")
data /= np.linalg.norm(data, axis=1, keepdims=True)
asked = data[random.integers(1, len(data), 200)] + 0.05 * random.normal(size=(200, 32)).astype("float32")
for copies, effort in ((0, 128), (1000, 128), (1000, 2048)):
    vectors = np.concatenate([data, np.repeat(data[:1], copies, axis=0)])
    vectors = vectors[np.random.default_rng(1).permutation(len(vectors))]
    graph = faiss.IndexHNSWFlat(32, 32, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = 200, effort
    graph.add(vectors)
    exact = faiss.IndexFlatIP(32)
    exact.add(vectors)
    share = np.mean(graph.search(asked, 1)[1] == exact.search(asked, 1)[1])
    answer = "finds nearly all" if share > 0.98 else "misses more than one in ten" if share < 0.9 else "misses some"
    print(f"{copies} copies, efSearch {effort}: {answer} of the nearest")
PYTHON
python copies.py >seen
expect seen
