"""Host, Origin and Content-Type: pages of other sites cannot use a server on their reader's machine."""

import json

import pytest

from propeller.errors import UserError
from propeller.service.errors import Forbidden
from propeller.service.origins import Origins
from propeller.service.server import Settings
from propeller.tools.start_server import parse
from tests.helpers.service_toys import ask, toy_server

BODY = json.dumps({"texts": ["1 2"]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "index.html").write_text("<title>a page</title>")
    return folder


@pytest.fixture(scope="module")
def server(folder):
    with toy_server(folder, token="word") as server:
        yield server


@pytest.fixture(scope="module")
def opened(folder):
    """A server with another name, for pages of another site."""
    with toy_server(folder, allowed_hosts=("ernie.example",), cors=("https://app.example",)) as server:
        yield server


def post(server, **headers):
    status, got, body = ask(server.url, "POST", "/predict", BODY, Authorization="Bearer word", **headers)
    return status, got, json.loads(body)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:{port}", "127.3.2.1", "[::1]:8113", "localhost."],
)
def test_names_of_the_own_machine_are_known(server, host):
    assert post(server, Host=host.format(port=server.url.rpartition(":")[2]))[0] == 200


@pytest.mark.parametrize(
    "host",
    ["site.example", "127.0.0.1.site.example", "10.9.8.7", "", "a b", "localhost:99999999", "localhost@x", "[::1"],
)
def test_other_names_are_refused(server, host):
    for method, path in (("POST", "/predict"), ("GET", "/info"), ("GET", "/"), ("GET", "/metrics"), ("GET", "/other")):
        status, _, body = ask(server.url, method, path, BODY, Host=host)
        assert status == 403, "before the token is asked for"
        assert "--allowed_hosts" in json.loads(body)["error"]["message"]
    assert ask(server.url, "GET", "/healthz", None, Host=host)[0] == 200


@pytest.mark.parametrize("origin", ["http://site.example", "null", "http://127.0.0.1:1", "http://localhost:8113/"])
def test_pages_of_other_sites_are_refused(server, origin):
    status, headers, answer = post(server, Origin=origin)
    assert status == 403
    assert "--cors" in answer["error"]["message"]
    assert headers["Access-Control-Allow-Origin"] is None
    assert ask(server.url, "OPTIONS", "/predict", None, Origin=origin, Access_Control_Request_Method="POST")[0] == 403


def test_the_own_page_is_served(server):
    own = server.url
    assert post(server, Origin=own)[0] == 200
    https = own.replace("http:", "https:")  # a proxy speaks TLS
    assert post(server, Origin=https)[0] == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "",
             "application/json; charset=utf-16", "application/jsonp"]
)  # fmt: skip
def test_bodies_that_are_not_said_to_be_json_are_refused(server, kind):
    for path in ("/predict", "/arrays"):
        status, _, body = ask(server.url, "POST", path, BODY, Content_Type=kind, Authorization="Bearer word")
        assert (status, json.loads(body)["error"]["code"]) == (415, "unsupported_media_type")
        assert "Content-Type: application/json" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=UTF-8", None])
def test_json_is_taken(server, kind):
    assert post(server, **({"Content_Type": kind} if kind else {}))[0] == 200


def test_a_name_and_a_site_that_are_allowed(opened):
    status, headers, _ = post(opened, Host="ernie.example", Origin="https://app.example")
    assert (status, headers["Access-Control-Allow-Origin"]) == (200, "https://app.example")
    assert headers["Vary"] == "origin"
    assert post(opened, Origin="https://other.example")[0] == 403
    status, headers, _ = ask(
        opened.url, "OPTIONS", "/predict", None, Origin="https://app.example", Access_Control_Request_Method="POST"
    )
    assert (status, headers["Access-Control-Allow-Origin"]) == (204, "https://app.example")
    assert "content-type" in headers["Access-Control-Allow-Headers"]
    status, headers, body = ask(opened.url, "POST", "/predict", "{", Origin="https://app.example")
    assert (status, headers["Access-Control-Allow-Origin"]) == (400, "https://app.example"), "errors can be read, too"
    assert ask(opened.url, "OPTIONS", "/predict")[0] == 405


def test_a_star_allows_any():
    scope = {"method": "POST", "server": ("10.0.0.7", 80)}
    anything = {**scope, "headers": [(b"host", b"site.example"), (b"origin", b"null")]}
    Origins(("*",), ("*",)).check(anything)
    for origins in (Origins(("*",), ()), Origins((), ("*",))):
        with pytest.raises(Forbidden):
            origins.check(anything)
    Origins().check({**scope, "headers": [(b"host", b"10.0.0.7:80")]})
    Origins(("::2",)).check({**scope, "headers": [(b"host", b"[::2]:80")]})


@pytest.mark.parametrize(
    ("hosts", "cors", "words"),
    [
        (("http://x",), (), "--allowed_hosts http://x"),
        (("a b",), (), "--allowed_hosts"),
        ((), ("x.example",), "--cors"),
        ((), ("https://x.example/",), "--cors"),
        ((), ("https://x:y@z",), "--cors"),
    ],
)
def test_what_is_no_name_or_origin(hosts, cors, words):
    with pytest.raises(UserError, match=words):
        Origins(hosts, cors)


def test_flags_and_the_token_is_not_shown():
    found = parse(["-m", "x", "--allowed_hosts", "a.example", "--cors", "https://a.example"])
    assert (found.allowed_hosts, found.cors) == ("a.example", "https://a.example")
    assert "word" not in repr(Settings("x", token="word"))


@pytest.mark.parametrize("given", ["Bearer wor", "Bearer word2", "Bearer", "word", "Basic word", "Bearer w\u00f6rd"])
def test_another_token(server, given):
    assert ask(server.url, "POST", "/predict", BODY, Authorization=given.encode("utf-8"))[0] == 401
