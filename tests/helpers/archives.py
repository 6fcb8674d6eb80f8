"""Shared with tests/script/test_demo_data.py: archives as registries serve them."""

import io
import tarfile
import zipfile

from script.demo import demo_data

LINES = [
    ("2.5", "A  fine\xa0film ."),
    ("-1.5", 'So "bad" it hurts'),
    ("0.5", "Neither here nor there"),
    ("1.0", "a FINE film"),
    ("3.0", "Mixed feelings"),
    ("-3.0", "mixed feelings!"),
    ("0.6", "Just enough"),
]


def tar_bytes(files, link=None):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)
    return buffer.getvalue()


def zip_bytes(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def sdist_bytes(lines=None):
    lines = LINES if lines is None else lines
    text = "\r\n".join(f"{number}\t{score}\t{sentence}" for number, (score, sentence) in enumerate(lines, start=1))
    inner = tar_bytes({demo_data.SENTENCES: text.encode(), "../escape.txt": b"never unpacked"})
    return tar_bytes({demo_data.INNER_TAR: inner})
