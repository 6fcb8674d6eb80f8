"""Semantic search: the texts of a file that mean nearly what a question means, by the vectors of both.

    python -m finetune.search build --model MODEL --data_set texts.tsv --search_index index
    python -m finetune.search query --search_index index "how do I change my password?"

``index.py`` is the index on the disk, ``build.py`` and ``query.py`` the two commands, ``handler.py`` the server's side.
"""
