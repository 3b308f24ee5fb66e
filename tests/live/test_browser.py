"""The whole product: the real page, real vLLM with a small model, a real browser. Slow to start, so one app for all."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.browser import ask, begin, browser
from tests.conftest import NOTES

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

QUESTION = "On which port does Triton serve gRPC?"
QUESTIONS = (
    QUESTION,
    "What does dynamic batching join?",
    "What does LoRA train?",
    "When does sampling bias arise?",
    "What does reweighing give to under-represented groups?",
)


@pytest.fixture
def page(chromium: str, app: tuple[str, subprocess.Popen[str]]) -> Iterator[Page]:
    with browser(chromium) as page:
        foreign: list[str] = []
        page.on(
            "request",
            lambda r: foreign.append(r.url) if not r.url.startswith((app[0], "data:", "blob:", "ws:")) else None,
        )
        page.goto(app[0])
        page.wait_for_selector("#box textarea")
        yield page
        assert foreign == []  # the page works without a network


def test_a_question_is_answered_and_its_citation_opens_the_passage(page: Page) -> None:
    # So small a model answers some questions with nothing that the notes support: then the next one is asked.
    for question in QUESTIONS:
        ask(page, question)
        if page.locator(".turn").last.locator(".chip").count():
            break
    turn = page.locator(".turn").last
    chip = turn.locator(".chip").first
    label = chip.get_attribute("aria-label") or ""
    assert re.match(r"Source \d: (triton|lora|ethics/bias)\.md", label), label
    chip.focus()
    page.keyboard.press("Enter")
    mark = page.locator("#passage mark").first
    assert mark.is_visible()
    quoted = " ".join(page.locator("#passage mark").all_inner_texts())
    assert len(quoted.split()) > 3
    assert any(" ".join(quoted.split()) in " ".join(note.split()) for note in NOTES.values())
    page.keyboard.press("Escape")
    assert page.locator("#passage").is_hidden()
    turn.locator(".inspector summary").click()
    assert turn.locator(".stage h4").all_inner_texts() == ["dense", "bm25", "fused", "reranked"]
    assert "write" in turn.locator(".times").inner_text()


def test_the_picker_offers_base_and_adapters(page: Page) -> None:
    picker = page.locator("#model input")
    page.wait_for_function("document.querySelector('#model input')?.value === 'smollm2-135m-instruct'")
    picker.click()
    page.get_by_role("option", name="other-v1").click()
    assert picker.input_value() == "other-v1"
    ask(page, QUESTION)
    assert page.locator(".turn").last.locator(".trace").count() == 1  # answered or refused, and no error
    assert picker.input_value() == "other-v1"


def test_a_reload_keeps_the_conversation_and_clear_forgets_it(page: Page) -> None:
    ask(page, QUESTION)
    page.reload()
    page.wait_for_selector(".turn .question")
    assert QUESTION in page.locator(".question").first.inner_text()
    page.click("#clear")
    page.wait_for_selector(".welcome")
    page.reload()
    page.wait_for_selector(".welcome")


def test_edit_brings_the_question_back(page: Page) -> None:
    ask(page, QUESTION)
    page.click("#edit")
    page.wait_for_selector(".welcome")
    assert page.input_value("#box textarea") == QUESTION


def test_nothing_a_note_says_runs(page: Page) -> None:
    ask(page, "How much do evil widgets weigh?")
    if page.locator(".chip").count():
        page.locator(".chip").first.click()
    assert page.title() == "GenL Tutor"
    assert page.locator("#conversation img, #passage img, #conversation script").count() == 0


def test_an_upload_is_searched_and_then_forgotten(page: Page, tmp_path: Path) -> None:
    (tmp_path / "zebra.md").write_text("# Zebra cluster\n\nThe Zebra cluster has 96 nodes in hall four.\n")
    page.locator("#documents button").first.click()
    page.set_input_files("#upload input[type=file]", str(tmp_path / "zebra.md"))
    page.locator("#told .done").wait_for(timeout=60_000)
    ask(page, "How many nodes does the Zebra cluster have?")
    assert "Zebra" in page.locator(".turn .inspector").last.inner_html()


def test_it_fits_a_phone_in_light_and_dark(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for theme in ("light", "dark"):
        page.goto(f"{page.url.split('?')[0]}?__theme={theme}")
        page.wait_for_selector("#box textarea")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.locator("#send").is_visible()


def test_a_killed_model_server_is_said_and_comes_back(page: Page, app: tuple[str, subprocess.Popen[str]]) -> None:
    page.wait_for_function("document.querySelector('#model input')?.value === 'smollm2-135m-instruct'")
    page.locator("#model input").click()
    page.get_by_role("option", name="other-v1").click()
    for question in QUESTIONS:  # one that is answered at some length
        begin(page, question)
        page.locator(".turn").last.locator(".prose.streaming, .trace").first.wait_for(timeout=300_000)
        if page.locator(".turn").last.locator(".prose.streaming").count():
            break
    for process in psutil.Process(app[1].pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # the first one killed takes others with it
            if "vllm" in " ".join(process.cmdline()).lower() or "VLLM" in process.name():
                process.kill()
    notice = page.locator(".turn .notice").last
    notice.wait_for(timeout=60_000)
    page.wait_for_function("document.querySelector('.status.restarting') !== null", timeout=60_000)
    ask(page, QUESTION)  # by the adapter, which the server that comes back has too
    assert page.locator(".turn").last.locator(".trace").count() == 1
    assert page.locator(".turn").last.locator(".notice").count() == 0
    assert page.locator(".status.ready").count() == 1
