"""Chromium, driven by Playwright; test files that import this are skipped where one of the two is not installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

PATIENCE: Final = 120_000  # milliseconds, for hangs only
CHROMIUM: Final = shutil.which("chromium")

playwright: Any = pytest.importorskip("playwright.sync_api")
expect: Any = playwright.expect
expect.set_options(timeout=PATIENCE)
if CHROMIUM is None:
    pytest.skip("the command chromium is not there", allow_module_level=True)


@contextmanager
def open_browser() -> Iterator[Any]:
    """Run a browser until the block ends."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def new_page(browser: Any, **options: Any) -> Any:
    """Return a page as another person would have it, who lets it use the clipboard."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    return context.new_page()


def read_clipboard(page: Any) -> str:
    """Return the text that the page copied."""
    return str(page.evaluate("navigator.clipboard.readText()"))
