"""A headless Chromium driven through chromedriver's HTTP interface (W3C WebDriver), by the standard library alone.

with Browser(tmp_path) as browser:
    browser.open("http://127.0.0.1:8113/")
    browser.run("return document.title")
"""

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here: apt-get install chromium chromium-driver"
)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
         "--disable-background-networking", "--disable-component-update", "--disable-sync")  # fmt: skip


class Browser:
    """One window. Args: folder: for the profile, empty; dark: which colours the page is asked for."""

    def __init__(self, folder, dark=False, width=1180, height=1000):
        self.folder, self.dark, self.size = Path(folder), dark, (width, height)

    def __enter__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._url = f"http://127.0.0.1:{port}"
        self._driver = subprocess.Popen(
            [DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            self._wait_for_driver()
            profile = self.folder / "profile"
            profile.mkdir(parents=True)
            options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}",
                                                    f"--window-size={self.size[0]},{self.size[1]}"]}  # fmt: skip
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            found = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            self._url += f"/session/{found['sessionId']}"
            colours = [{"name": "prefers-color-scheme", "value": "dark" if self.dark else "light"}]
            self.devtools("Emulation.setEmulatedMedia", {"features": colours})
        except BaseException:
            self._driver.kill()
            raise
        return self

    def __exit__(self, *exc):
        with contextlib.suppress(OSError):
            self._call("DELETE", "", None)
        self._driver.terminate()
        self._driver.wait(10)

    def _wait_for_driver(self):
        for _ in range(100):
            with contextlib.suppress(OSError):
                if self._call("GET", "/status")["ready"]:
                    return
            time.sleep(0.1)
        raise RuntimeError("chromedriver does not start")

    def _call(self, method, path, payload=None):
        body = None if payload is None else json.dumps(payload).encode()
        request = urllib.request.Request(self._url + path, body, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from None

    def devtools(self, command, parameters):
        """A command of the DevTools protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, url):
        """Load a page."""
        self._call("POST", "/url", {"url": url})

    def run(self, script, *args):
        """What a script returns in the page."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def wait(self, script, *args):
        """Wait till the script returns something true; that is returned."""
        for _ in range(200):
            if found := self.run(script, *args):
                return found
            time.sleep(0.05)
        raise AssertionError(f"did not happen in the page: {script}\n{self.run('return document.body.innerText')}")

    def type(self, selector, text):
        """Type into an element, as from a keyboard; what it held goes."""
        element = self._call("POST", "/element", {"using": "css selector", "value": selector})
        path = f"/element/{next(iter(element.values()))}"
        self._call("POST", f"{path}/clear", {})
        self._call("POST", f"{path}/value", {"text": text})

    def click(self, selector):
        """Click on an element; it must be in sight."""
        element = self._call("POST", "/element", {"using": "css selector", "value": selector})
        self._call("POST", f"/element/{next(iter(element.values()))}/click", {})

    def chord(self, *keys):
        """Press keys together at what has the focus; those without a letter by their code in WebDriver's table."""
        actions = [{"type": "keyDown", "value": key} for key in keys]
        actions += [{"type": "keyUp", "value": key} for key in reversed(keys)]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def console(self):
        """The messages of the console since the last time: violations of the Content-Security-Policy too."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]
