"""A real headless Chromium for tests of what people look at: marker `browser`.

Debian's `chromium`, driven by Playwright; nothing is downloaded. Where one of them is missing the
tests are skipped with the reason, and fail instead where AUTOSEG_NEEDS_BROWSER=1 (continuous
integration) says that they must run.
"""

import os
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

# No name but this machine's resolves, whatever a page asks for.
ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"
HERE = {"127.0.0.1", "localhost", "::1"}
SLOW_MS = 180_000  # a machine that trains beside the tests takes its time
WITHIN = {"file", "data", "blob", "about"}


class BrowserPage:
    """A Playwright page; `errors` are what its console complained of, `requests_out` is the
    addresses that it asked for outside this machine. All else is the page's own.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests_out: list[str] = []
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))
        page.on("websocket", lambda socket: self._asked(socket.url))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.page, name)

    def _asked(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in WITHIN and parts.hostname not in HERE:
            self.requests_out.append(address)


def missing() -> str | None:
    """What is not here, with the way out; None where a browser can be opened."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed: pip install -e '.[dev]'"
    return None if chromium() else "chromium is not installed: apt install chromium"


def chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One Chromium for all tests of a worker."""
    if reason := missing():
        (pytest.fail if os.environ.get("AUTOSEG_NEEDS_BROWSER") == "1" else pytest.skip)(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A container's root has no sandbox; the pages are this machine's own.
        started = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", ALONE]
        )
        yield started
        started.close()


@pytest.fixture
def browser_page(browser: Any) -> Iterator[BrowserPage]:
    """A new page of 1280 x 800 with a profile of its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(SLOW_MS)
    yield BrowserPage(context.new_page())
    context.close()
