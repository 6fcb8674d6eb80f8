"""Shared with tests/reader/test_class_reader.py: shards of tasks with classes."""

from tests.helpers.shard_rows import shard


def line(ids, fourth, label):
    """`[CLS] ids [SEP]`; fourth: of each token."""
    fields = [[1, *ids, 2], [0] * (len(ids) + 2), range(len(ids) + 2), fourth]
    return ";".join([*(" ".join(map(str, field)) for field in fields), str(label)])


def sentence(label, size=3):
    return line(range(10, 10 + size), [-1, 0, *[1] * (size - 1), -1], label)


def tokens(classes, label=0):
    return line([10 + i for i in range(len(classes))], [-1, *classes, -1], label)


def listed(folder, *files):
    """A list of shards with these lines."""
    paths = [shard(folder / f"part-{number}.gz", lines) for number, lines in enumerate(files)]
    (folder / "filelist").write_text("".join(f"{path}\t1\n" for path in paths))
    return folder / "filelist"
