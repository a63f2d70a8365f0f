# SPDX-License-Identifier: GPL-2.0-or-later
"""Chromium driven by hand: W3C WebDriver is JSON over HTTP, and chromedriver is
a Debian package, so nothing else is needed. One Browser is one headless window;
every wait has an end, and the driver dies with the test.
"""
import base64
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # W3C WebDriver, section 11
KEYS = {"ESC": "\ue00c", "ENTER": "\ue007", "CTRL": "\ue009", "SHIFT": "\ue008", "UP": "\ue013",
        "DOWN": "\ue015", "LEFT": "\ue012", "RIGHT": "\ue014"}
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-extensions", "--disable-dev-shm-usage", "--hide-scrollbars",
         "--force-device-scale-factor=1", "--allow-file-access-from-files"]


def find():
    """Paths of (chromedriver, browser), or None."""
    driver = shutil.which("chromedriver") or shutil.which("chromedriver",
                                                          path="/usr/lib/chromium:/snap/bin")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser",
                                                   "google-chrome"))), None)
    return (driver, browser) if driver and browser else None


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class WebDriverError(Exception):
    pass


class Browser:
    def __init__(self, width=1300, height=800, dark=False):
        driver, browser = find()
        self.profile = tempfile.mkdtemp(prefix="memwho-chromium-")
        self.port = free_port()
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.process = subprocess.Popen([driver, f"--port={self.port}"], start_new_session=True,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self._wait_for_driver()
            args = FLAGS + [f"--user-data-dir={self.profile}", f"--window-size={width},{height}"]
            if dark:
                args.append("--blink-settings=preferredColorScheme=0")
            options = {"binary": browser, "args": args}
            self.session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": {
                "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}}
            )["sessionId"]
        except BaseException:
            self.close()
            raise

    def _wait_for_driver(self):
        end = time.monotonic() + 30
        while True:
            try:
                if self._call("GET", "/status", None, timeout=5)["ready"]:
                    return
            except OSError:
                pass
            if time.monotonic() > end or self.process.poll() is not None:
                raise WebDriverError("chromedriver did not start")
            time.sleep(0.1)

    def _call(self, method, path, body=None, timeout=60):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data,
                                         method=method,
                                         headers={"Content-Type": "application/json"})
        try:
            with self.opener.open(request, timeout=timeout) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as e:
            raise WebDriverError(e.read().decode(errors="replace")[:2000]) from None

    def call(self, method, path, body=None):
        return self._call(method, f"/session/{self.session}{path}", body)

    def close(self):
        if getattr(self, "session", None):
            try:
                self.call("DELETE", "")
            except (OSError, WebDriverError):
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    # ---- what tests say

    def open(self, path):
        url = path if str(path).startswith("http:") else pathlib.Path(path).resolve().as_uri()
        self.call("POST", "/url", {"url": url})

    def js(self, script, *args):
        """Run @script as a function's body; what it returns."""
        return self.call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def wait(self, script, *args, seconds=10):
        """Until @script returns something true; that."""
        end = time.monotonic() + seconds
        while True:
            value = self.js(script, *args)
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s: {script}")
            time.sleep(0.05)

    def element(self, css):
        return self.call("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def click(self, css):
        """A real click in the middle of the first element that matches. A page may
        make its elements anew while we find one."""
        for attempt in range(5):
            try:
                return self.call("POST", f"/element/{self.element(css)}/click", {})
            except WebDriverError as e:
                if "stale element" not in str(e) or attempt == 4:
                    raise

    def click_at(self, x, y, shift=False):
        self.act_pointer([{"type": "pointerMove", "x": round(x), "y": round(y)},
                          {"type": "pointerDown", "button": 0},
                          {"type": "pointerUp", "button": 0}], shift)

    def hover(self, x, y):
        self.act_pointer([{"type": "pointerMove", "x": round(x), "y": round(y)}])

    def act_pointer(self, actions, shift=False):
        sources = [{"type": "pointer", "id": "mouse", "actions": actions}]
        if shift:
            pause = [{"type": "pause"}] * (len(actions) - 1)
            sources.append({"type": "key", "id": "keys",
                            "actions": [{"type": "keyDown", "value": KEYS["SHIFT"]}, *pause]})
        self.call("POST", "/actions", {"actions": sources})
        self.call("DELETE", "/actions")

    def type(self, css, text):
        """Key by key into a field, over what stands there. (WebDriver's own clear
        fails on a field inside an SVG: it cannot take the focus away.)"""
        self.js("const e = document.querySelector(arguments[0]); e.focus(); e.select()", css)
        for c in text:
            self.press(c)

    def press(self, *keys):
        """Press keys together, wherever the focus is: press("CTRL", "f")."""
        keys = [KEYS.get(k, k) for k in keys]
        actions = [{"type": "keyDown", "value": k} for k in keys]
        actions += [{"type": "keyUp", "value": k} for k in reversed(keys)]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keys",
                                                    "actions": actions}]})

    def screenshot(self, path):
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("GET", "/screenshot")))

    def problems(self):
        """Console messages of the levels warning and error since the last call."""
        return [m for m in self.call("POST", "/se/log", {"type": "browser"})
                if m["level"] in ("SEVERE", "WARNING")]
