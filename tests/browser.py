"""A real browser, and a question asked in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
)


@contextmanager
def browser(chromium: str) -> Iterator[Page]:
    """A page of a new browser, 1280 wide."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=list(_QUIET))
        yield started.new_page(viewport={"width": 1280, "height": 860})
        started.close()


def ask(page: Page, question: str, timeout_s: float = 300) -> None:
    """Asks, and waits for the answer's end."""
    begin(page, question)
    page.locator(".turn").last.locator(".trace, .notice:not(.streaming + .notice)").first.wait_for(
        timeout=timeout_s * 1000
    )


def begin(page: Page, question: str) -> None:
    """Asks, and waits until the question stands in the conversation."""
    from playwright.sync_api import TimeoutError

    turns = page.locator(".turn").count()
    page.fill("#box textarea", question)
    # While the page is being opened, or the event of the answer before ends, the box keeps its text.
    for _ in range(10):
        page.keyboard.press("Enter")
        with contextlib.suppress(TimeoutError):
            page.wait_for_function(f"document.querySelectorAll('.turn').length > {turns}", timeout=10_000)
            break
    assert page.locator(".turn").count() > turns
