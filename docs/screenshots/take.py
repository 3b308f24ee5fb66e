"""Takes the README's screenshots from a running page: `.venv/bin/python docs/screenshots/take.py http://127.0.0.1:7860`.

With a folder in the place of the address, those of the evaluation's report in it: `take.py docs/reports/tutor`.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

QUESTION = "When is BM25 better than dense retrieval?"
MESSAGES = ("Does a QLoRA run of llama-3-8b fit into 24 GB?", "Quiz me on prompt injection")
HERE = Path(__file__).parent


def _study(page: Page, shoot: Callable[[str], None]) -> None:
    """A practice question answered with its passage, a mock exam under way and its report, the progress after it."""
    page.get_by_role("tab", name="Practice").click()
    page.wait_for_selector("#practice-question .stem")
    page.locator("#practice-one label:visible, #practice-two label:visible").nth(1).click()
    if page.locator("#practice-two label:visible").count():
        page.locator("#practice-two label:visible").nth(2).click()
    page.click("#practice-check")
    page.locator("#practice-told .chip").click()
    shoot("practice-desk")
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Mock exam").click()
    page.click("#exam-start")
    for n in range(1, 51):
        page.wait_for_selector(f"#exam-question :text-is('Question {n}')")
        options = page.locator("#exam-one label:visible, #exam-two label:visible")
        for option in range(2 if page.locator("#exam-two label:visible").count() else 1):
            options.nth((n + option) % 4).click()
        page.locator("#exam-sure label").nth(n % 3).click()
        page.wait_for_selector(f"#exam-top :text('{n} answered')")
        if n == 9:
            page.click("#exam-flag")
            shoot("exam-desk")
        page.click("#exam-next")
    page.click("#exam-end")
    page.wait_for_selector("#exam-report .report")
    page.locator("#exam-report").scroll_into_view_if_needed()
    shoot("report-desk")
    page.get_by_role("tab", name="Progress").click()
    page.wait_for_selector("#progress-now .bar")
    shoot("progress-desk")
    page.get_by_role("tab", name="Chat").click()


def evaluation(folder: Path) -> None:
    """The head of a report and its figures by stage, wide; its head on a phone."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, width in (("evaluation-desk", 1280), ("evaluation-phone", 390)):
            page = browser.new_context(viewport={"width": width, "height": 860}).new_page()
            page.goto((folder / "report.html").resolve().as_uri())
            page.screenshot(path=HERE / f"{name}.png")


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
        _study(page, shoot)
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
    if Path(sys.argv[1]).is_dir():
        evaluation(Path(sys.argv[1]))
    else:
        main(*sys.argv[1:])
