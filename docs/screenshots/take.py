"""Takes the README's screenshots from a running page: `.venv/bin/python docs/screenshots/take.py http://127.0.0.1:7860`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

QUESTION = "When is BM25 better than dense retrieval?"
MESSAGES = ("Does a QLoRA run of llama-3-8b fit into 24 GB?", "Quiz me on prompt injection")
HERE = Path(__file__).parent


def main(url: str, question: str = QUESTION) -> None:
    """Asks one real question, then shows answer, citation, inspector and the agent at work, wide and narrow, light and dark."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1280, "height": 860}).new_page()
        page.goto(url)
        page.fill("#box textarea", question)
        page.wait_for_timeout(2500)  # the conversation's name reaches the browser
        page.keyboard.press("Enter")
        page.wait_for_selector(".trace, .notice:not(.streaming + .notice)", timeout=600_000)

        def shoot(name: str) -> None:
            page.wait_for_timeout(600)
            page.screenshot(path=HERE / f"{name}.png")

        shoot("chat-desk")
        page.locator(".chip").first.click()
        shoot("citation-desk")
        page.keyboard.press("Escape")
        page.locator(".inspector > summary").first.click()
        shoot("inspector-desk")
        page.locator(".inspector > summary").first.click()
        for n, message in enumerate(MESSAGES, 2):
            page.fill("#box textarea", message)
            page.keyboard.press("Enter")
            page.wait_for_function(f"document.querySelectorAll('.trace').length == {n}", timeout=600_000)
            page.wait_for_timeout(1500)
        page.locator(".trace > summary").nth(1).click()
        page.locator(".turn").nth(1).scroll_into_view_if_needed()
        shoot("agent-desk")
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(f"{url}?__theme=dark")
        page.wait_for_selector(".turn .chip")
        page.wait_for_selector(".status.ready")
        page.locator(".turn").first.scroll_into_view_if_needed()
        shoot("chat-phone")
        page.locator(".chip").first.click()
        shoot("citation-phone")
        page.keyboard.press("Escape")
        page.locator(".inspector > summary").first.click()
        page.locator(".inspector").first.scroll_into_view_if_needed()
        shoot("inspector-phone")
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
