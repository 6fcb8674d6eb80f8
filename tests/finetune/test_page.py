"""The web page: what its files may hold, and what a browser does with it over the real server.

pytest -q -x tests/finetune/test_page.py                 # needs chromium and chromedriver for most: skipped without
"""

import json
import re

import pytest

from finetune import TASKS, task_class
from finetune.search.__main__ import main as search
from finetune.serving.handler import PAGE
from propeller.service.app import static_files
from propeller.service.limits import Limits
from propeller.service.server import InferenceServer
from tests.helpers.browser import Browser, needs_chromium
from tests.helpers.served import make_bundle

MARKUP = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script> & <b>good</b>"
ENTER, CONTROL = "\ue007", "\ue009"  # WebDriver's names of keys
FILES = {path.name: path.read_text(encoding="utf-8") for path in PAGE.iterdir()}

CONTRAST = """
const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const ground = (node) => {
  for (; node; node = node.parentElement) {
    const colour = numbers(getComputedStyle(node).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
return [...document.querySelectorAll('body *')]
  .filter((node) => node.offsetParent)
  .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
  .map((node) => {
    const [one, other] = [light(numbers(getComputedStyle(node).color)), light(ground(node))];
    return [(Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05), node.outerHTML.slice(0, 80)];
  }).filter(([ratio]) => ratio < 4.5);
"""


def test_the_page_needs_nothing_from_outside():
    """No address but its own, no script or style in the markup, no text that becomes markup."""
    for name, text in FILES.items():
        addresses = set(re.findall(r"(?:https?:)?//[a-z0-9][^\s\"'`)]*", re.sub(r"(?m)^\s*//.*$", "", text)))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name
    assert set(re.findall(r'(?:src|href)="([^"#]+)"', FILES["index.html"])) == {
        "/page/icon.svg", "/page/page.css", "/page/page.js"
    }  # fmt: skip
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", FILES["index.html"])
    for name in ("page.js", "tasks.js", "examples.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", FILES[name]
        )


@pytest.mark.parametrize("task", TASKS)
def test_the_page_knows_every_task(task):
    """By an entry of its own, or as any task; the tasks of the project have one."""
    if task_class(task).__module__.count(".") > 1:
        assert f"\n  {task}: {{\n" in FILES["tasks.js"]
    assert "taskOf(info)" in FILES["page.js"]


def test_every_name_of_an_entry_is_there():
    """Fields and examples are functions of what the model says; a name that nothing defines leaves an empty page."""
    entries = FILES["tasks.js"].partition("const TASKS = {")[2]
    assert not re.search(r"\b(?:fields|examples): *\[", entries)
    known = re.findall(r"\b(?:function|const) (\w+)", FILES["tasks.js"])
    known += re.search(r"import \{(.*?)\}", FILES["tasks.js"])[1].replace(" ", "").split(",")
    exported = re.findall(r"export (?:function|const) (\w+)", FILES["examples.js"])
    used = re.findall(r"(?:\b(?:fields|payload|show|examples): |\.\.\.)([A-Za-z]\w*)\b(?! *=>)", entries)
    assert len(used) > 20
    assert set(used) <= set(known)
    assert {name for name in known if name.endswith("For")} <= set(exported)


def test_the_server_finds_the_page():
    """Types that browsers take under nosniff; the page itself at /."""
    files = static_files(PAGE)
    assert set(files) == {"/", *(f"/page/{name}" for name in FILES)}
    assert {path: kind.split(";")[0] for path, (_, kind) in files.items()} == {
        "/": "text/html",
        "/page/index.html": "text/html",
        "/page/icon.svg": "image/svg+xml",
        "/page/page.css": "text/css",
        "/page/page.js": files["/page/page.js"][1].split(";")[0],
        "/page/tasks.js": files["/page/tasks.js"][1].split(";")[0],
        "/page/examples.js": files["/page/tasks.js"][1].split(";")[0],
    }
    assert files["/page/page.js"][1].split(";")[0].endswith("/javascript")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def serve(model, tmp_path_factory):
    """Starts a server of a task with random weights; a context manager over its address."""

    def start(task, limits=None, token=None, **changes):
        folder = make_bundle(tmp_path_factory.mktemp("bundles") / task, model, task, **changes)
        server = InferenceServer(folder, handlers="finetune.serving", use_cuda="false", token=token,
                                 limits=limits or Limits())  # fmt: skip
        return server.listen(0, wait=False)

    return start


def open_page(browser, url):
    """Load the page; the console since then is clean."""
    browser.console()
    browser.open(url)
    browser.wait("return !document.getElementById('main').hidden")


def ask(browser, **fields):
    """Fill in the form, send it, and give the JSON that the server answered."""
    browser.run("document.getElementById('json').textContent = ''")
    for name, text in fields.items():
        browser.run("document.getElementById(arguments[0]).value = arguments[1]", name, text)
    browser.click("#send")
    browser.wait("return document.getElementById('json').textContent || !document.getElementById('error').hidden")
    assert browser.run("return document.getElementById('error').textContent") == ""
    return json.loads(browser.run("return document.getElementById('json').textContent"))


def texts(browser, selector):
    return browser.run("return [...document.querySelectorAll(arguments[0])].map((node) => node.textContent)", selector)


def check_page(browser, url):
    """What holds for every task: examples work, nothing overflows, contrast, labels, own resources, clean console."""
    count = len(texts(browser, "#examples button"))
    assert count >= 3
    for number in range(count):
        browser.run("document.getElementById('json').textContent = ''")
        browser.run("document.querySelectorAll('#examples button')[arguments[0]].click()", number)
        browser.wait("return document.getElementById('json').textContent")
        assert texts(browser, "#answer .verdict, #answer .bars")
    browser.run("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    for scheme in ("light", "dark"):
        for width in (1180, 360):
            browser.devtools("Emulation.setEmulatedMedia",
                             {"features": [{"name": "prefers-color-scheme", "value": scheme}]})  # fmt: skip
            browser.devtools("Emulation.setDeviceMetricsOverride",
                             {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False})  # fmt: skip
            assert browser.run("return document.documentElement.scrollWidth") <= width
            assert browser.run(CONTRAST) == []
    browser.devtools("Emulation.clearDeviceMetricsOverride", {})
    assert browser.run("return document.documentElement.lang") == "en"
    unnamed = "textarea, select, input, button"
    assert browser.run("return [...document.querySelectorAll(arguments[0])].filter((node) => !(node.labels?.length || "
                       "node.textContent.trim())).length", unnamed) == 0  # fmt: skip
    loaded = browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert loaded
    assert all(name.startswith(url) for name in loaded)
    inline = "const made = document.createElement('script'); made.textContent = 'window.inline = 1';"
    assert browser.console() == []
    assert browser.run(inline + "document.body.append(made); return window.inline || 0") == 0
    assert any("Content Security Policy" in line for line in browser.console())


def check_not_markup(browser):
    """Nothing of MARKUP became an element."""
    assert browser.run("return document.querySelectorAll('main img, main script, main b, #facts img').length") == 0
    assert browser.run("return window.hacked || 0") == 0


@needs_chromium
@pytest.mark.slow
def test_labels_as_bars(browser, serve):
    """Sorted by probability, as wide as probable; labels and texts are text; the keyboard sends."""
    with serve("classify", label_map={MARKUP: 0, "yes": 1, "maybe": 2}) as server:
        open_page(browser, server.url)
        (found,) = ask(browser, text="a very good film")["predictions"]
        wanted = sorted(found["probabilities"].items(), key=lambda entry: -entry[1])
        assert texts(browser, ".bars li .bar-head > :first-child") == [label for label, _ in wanted]
        assert texts(browser, ".bars .number") == [f"{100 * share:.1f} %" for _, share in wanted]
        widths = browser.run("return [...document.querySelectorAll('.fill')].map((node) => node.offsetWidth / "
                             "node.parentElement.offsetWidth)")  # fmt: skip
        assert widths == pytest.approx([share for _, share in wanted], abs=0.01)
        (paired,) = ask(browser, text="a very good film", other=MARKUP)["predictions"]
        assert paired["probabilities"] != found["probabilities"]
        check_not_markup(browser)
        browser.run("document.getElementById('json').textContent = ''")
        browser.type("#text", "dull")
        browser.chord(CONTROL, ENTER)
        browser.wait("return document.getElementById('json').textContent")
        check_page(browser, server.url)


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize(
    ("pairs", "labels", "fields", "first"),
    [
        (False, ("pos", "neg"), ["text"], "The room was spotless"),
        (False, ("sports", "health"), ["text"], "The home side won the final"),
        (True, ("entailment", "neutral"), ["text", "other"], "A woman is playing the violin"),
        (None, ("0", "1"), ["text", "other"], "The parcel arrived"),
    ],
    ids=["sentiment", "topics", "pairs", "unknown"],
)
def test_fields_and_examples_are_the_models(pairs, labels, fields, first, browser, serve):
    """A second text for models of pairs, examples for the labels; one that does not say gets both."""
    facts = {} if pairs is None else {"pairs": pairs}
    facts.update(num_labels=2, label_map={word: number for number, word in enumerate(labels)})
    with serve("classify", **facts) as server:
        open_page(browser, server.url)
        assert browser.run("return [...document.querySelectorAll('textarea')].map((node) => node.name)") == fields
        assert texts(browser, "#examples button")[0].startswith(first)
        assert all(("·" in shown) == bool(pairs) for shown in texts(browser, "#examples button")[:3])
        check_page(browser, server.url)


@needs_chromium
@pytest.mark.slow
def test_scores(browser, serve):
    with serve("regression") as server:
        open_page(browser, server.url)
        (found,) = ask(browser, text="a very good film", other="dull")["predictions"]
        assert texts(browser, ".verdict") == [f"{found['score']:.3f}"]
        check_page(browser, server.url)


@needs_chromium
@pytest.mark.slow
def test_options_in_the_order_of_their_probability(browser, serve):
    with serve("multiple_choice") as server:
        open_page(browser, server.url)
        (found,) = ask(browser, text="a very good film", other="the cast ?", choices="dull\nfine")["predictions"]
        assert texts(browser, ".verdict") == [f"{found['choice']}{100 * max(found['probabilities']):.1f} %"]
        assert len(texts(browser, ".bars li")) == 2
        check_page(browser, server.url)


@needs_chromium
@pytest.mark.slow
def test_a_template_says_how_many_texts_there_are(browser, serve):
    with serve("prompt") as server:
        open_page(browser, server.url)
        (found,) = ask(browser, text="a very good film")["predictions"]
        assert texts(browser, ".verdict")[0].startswith(found["label"])
        assert texts(browser, "textarea") == [""]
        check_page(browser, server.url)


@needs_chromium
@pytest.mark.slow
def test_entities_highlighted_where_they_stand(browser, serve):
    """Also after characters beyond U+FFFF; a text that looks like markup stays text."""
    with serve("sequence_label") as server:
        open_page(browser, server.url)
        for text in ("😀😀 the good films\nwere 中国 dull 𠮷 casts", MARKUP):
            (found,) = ask(browser, text=text)["predictions"]
            assert found["entities"]
            marks = browser.run("return [...document.querySelectorAll('mark')].map((node) => "
                                "[node.firstChild.data, node.lastChild.textContent])")  # fmt: skip
            assert marks == [[entity["text"], entity["type"]] for entity in found["entities"]]
            browser.run("document.querySelectorAll('.kind').forEach((node) => node.remove())")
            assert texts(browser, ".passage") == [text]
            assert texts(browser, "tbody td:first-child") == [token["text"] for token in found["tokens"]]
            check_not_markup(browser)
        check_page(browser, server.url)


@needs_chromium
@pytest.mark.slow
def test_the_answer_marked_in_its_passage(browser, serve):
    """Also after characters beyond U+FFFF; choosing another answer moves the mark."""
    with serve("mrc") as server:
        open_page(browser, server.url)
        for context in ("😀😀 the good films\nwere 中国 dull 𠮷 casts", MARKUP):
            (found,) = ask(browser, question="the film ?", context=context)["predictions"]
            assert texts(browser, "mark") == [found["answer"]]
            assert texts(browser, ".passage") == [context]
            other = found["nbest"][1]
            browser.click("#answer li:nth-child(2) button")
            assert texts(browser, "mark") == [other["text"]]
            before = browser.run("return document.querySelector('.passage').firstChild.data")
            assert len(before) == other["start"]
            assert texts(browser, "[aria-pressed=true] .bar-head > :first-child") == [other["text"]]
            check_not_markup(browser)
        check_page(browser, server.url)


@needs_chromium
@pytest.mark.slow
def test_similarity_of_texts(browser, serve):
    """One line gives a number, several are sorted; the choice of the vector is sent."""
    with serve("embed") as server:
        open_page(browser, server.url)
        found = ask(browser, text="a very good film", other="a very good film")["similarity"]
        assert found == pytest.approx([1])
        assert texts(browser, ".verdict") == ["1.000cosine similarity"]
        found = ask(browser, text="good", other=f"dull\n{MARKUP}\n\nfine", pooling="max")["similarity"]
        assert len(found) == 3
        assert texts(browser, ".bars .number") == [f"{value:.3f}" for value in sorted(found, reverse=True)]
        assert '"pooling":"max"' in texts(browser, "#curl")[0]
        check_not_markup(browser)
        check_page(browser, server.url)


@needs_chromium
@pytest.mark.slow
def test_the_search_box_shows_the_nearest_texts(browser, model, tmp_path):
    bundle = make_bundle(tmp_path / "embed", model, "embed")
    rows = tmp_path / "texts.txt"
    rows.write_text(f"a very good film\ndull\n{MARKUP}\n", encoding="utf8")
    given = ["--model", str(bundle), "--data_set", str(rows), "--search_index", str(tmp_path / "index")]
    search(["build", *given, "--use_cuda", "false"])
    options = {"search_index": str(tmp_path / "index")}
    server = InferenceServer(bundle, handlers="finetune.serving", use_cuda="false", handler_options=options)
    with server.listen(0, wait=False) as served:
        open_page(browser, served.url)
        (found,) = ask(browser, text="a very good film")["results"]
        shown = texts(browser, ".bars li .bar-head > :first-child")
        assert shown == [each["text"] for each in found]
        assert shown[0] == "a very good film"
        assert texts(browser, "select, #examples button") == []
        check_not_markup(browser)
        assert browser.console() == []


@needs_chromium
@pytest.mark.slow
def test_vectors_of_a_model_that_was_trained_for_them(browser, serve):
    with serve("sentence_vectors") as server:
        open_page(browser, server.url)
        assert ask(browser, text="a very good film", other="a very good film")["similarity"] == pytest.approx([1])
        check_page(browser, server.url)


@needs_chromium
@pytest.mark.slow
def test_what_goes_wrong_is_shown(browser, serve):
    """An empty form, what the server refuses (with the request's id), a server that is gone."""
    with serve("classify", Limits(max_chars=50)) as server:
        open_page(browser, server.url)
        browser.click("#send")
        assert texts(browser, "#error") == ["Text: give a text."]
        browser.type("#text", "x" * 51)
        browser.click("#send")
        browser.wait("return document.getElementById('error').textContent.includes('more than the 50 allowed')")
        assert "\nRequest " in texts(browser, "#error")[0]
        assert texts(browser, "#error[role=alert]")
        ask(browser, text="good")
        assert browser.run("return document.getElementById('error').hidden")
    browser.click("#send")
    browser.wait("return document.getElementById('error').textContent.startsWith('The server does not answer')")
    assert browser.run("return document.getElementById('send').disabled") is False


@needs_chromium
@pytest.mark.slow
def test_a_token_is_asked_for(browser, serve):
    """The page loads without; a wrong token is refused, the right one is kept for the tab."""
    with serve("classify", token="a secret") as server:
        browser.open(server.url)
        browser.wait("return !document.getElementById('token-form').hidden")
        browser.type("#token", "a guess")
        browser.click("#token-form button")
        browser.wait("return !document.getElementById('error').hidden")
        assert browser.run("return document.getElementById('main').hidden")
        browser.type("#token", "a secret")
        browser.click("#token-form button")
        browser.wait("return !document.getElementById('main').hidden")
        ask(browser, text="good")
        assert "a secret" not in browser.run("return document.documentElement.outerHTML")
        open_page(browser, server.url)
