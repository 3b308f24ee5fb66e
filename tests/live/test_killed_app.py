"""The page killed in mid-answer and in a mock exam, and started again: both go on; and the learner can be forgotten.

Only the model's words are scripted, so that they come slowly enough to kill something in between.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from core.paths import ROOT
from tests.browser import ask, begin, browser
from tests.conftest import write_notes
from tests.wire import model_server

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

LORA = "LoRA freezes the base model and trains two small matrices of rank r beside each weight matrix. [1]"


def _script(body: dict[str, Any]) -> str:
    system, asked = body["messages"][0]["content"], body["messages"][-1]["content"]
    if "standalone" in system:
        return "How does LoRA train a model cheaply?"
    return LORA * 40 if "in depth" in asked else LORA


@contextmanager
def _app(folder: Path, url: str, port: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "app", "--model", url, "--port", str(port), "--corpus", str(folder / "notes")]
    # Embedding the guard's examples takes a while, and nothing here is to be declined.
    (folder / "agent.yaml").write_text("intent_examples: null\n")
    command += ["--agent", str(folder / "agent.yaml")]
    environment = os.environ | {"GENL_VAR": str(folder / "var")}
    child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline().startswith("GenL Tutor: http://127.0.0.1:")
    try:
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            assert child.wait(60) == 0


def _open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def _answer(page: Page, numbers: range) -> None:
    """Gives every question its first one or two options, and goes on to the next."""
    for n in numbers:
        page.wait_for_selector(f"#exam-question :text-is('Question {n}')")
        options = page.locator("#exam-one label:visible, #exam-two label:visible")
        for option in range(2 if page.locator("#exam-two label:visible").count() else 1):
            options.nth(option).click()
        page.wait_for_selector(f"#exam-top :text('{n} answered')")
        page.click("#exam-next")


def test_a_killed_page_keeps_thread_and_exam_and_forget_me_ends_both(chromium: str, tmp_path: Path) -> None:
    write_notes(tmp_path / "notes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with model_server(_script, delay_s=0.05) as (url, requests), browser(chromium) as page:
        with _app(tmp_path, url, port) as child:
            page.goto(f"http://127.0.0.1:{port}")
            page.wait_for_selector("#box textarea")
            ask(page, "How does LoRA train a model?")
            _open_tab(page, "Mock exam")
            page.click("#exam-start")
            _answer(page, range(1, 21))
            page.click("#exam-flag")
            page.wait_for_selector("#exam-flag:has-text('Flagged')")
            _open_tab(page, "Chat")
            begin(page, "Explain LoRA in depth?")
            page.wait_for_selector(".prose.streaming", timeout=60_000)
            child.kill()
            child.wait(30)
        with _app(tmp_path, url, port):
            page.goto(f"http://127.0.0.1:{port}")
            page.wait_for_selector(".turn .question")
            assert page.locator(".turn").count() == 2
            assert page.locator(".turn").first.locator(".chip").count() == 1
            assert "interrupted" in page.locator(".turn").last.inner_text()
            before = len(requests)
            ask(page, "And why is it cheap?")
            told = "".join(m["content"] for m in requests[before]["messages"])
            assert "How does LoRA train a model?" in told  # the thread as it was before the killed turn
            assert page.locator(".turn").last.locator(".chip").count() == 1

            _open_tab(page, "Mock exam")
            page.wait_for_selector("#exam-top :text('20 answered')")
            assert "Question 21 of 50" in page.locator("#exam-top").inner_text()
            assert "Flagged" in page.locator("#exam-flag").inner_text()
            assert int(page.locator(".clock").inner_text().split(":")[0]) < 60
            _answer(page, range(21, 51))
            assert "50 of 50 answered. None is open. Flagged: 21." in page.locator("#exam-overview").inner_text()
            page.click("#exam-end")
            page.wait_for_selector("#exam-report .report")
            told = page.locator("#exam-report").inner_text()
            right = int(re.search(r"(\d+) of 50", told).group(1))  # type: ignore[union-attr]
            assert f"{2 * right}% right" in told and "By domain" in told and "Study next" in told
            with page.expect_download() as download:
                page.click("#exam-report .save")
            kept = download.value.path().read_text()
            assert f"{right} of 50" in kept and "<script" not in kept and "http" not in kept
            _open_tab(page, "Cards")
            page.wait_for_selector(f"#card :text('{50 - right} due today')")
            page.click("#card-turn")
            page.click("#card-good")
            page.wait_for_selector(f"#card :text('{49 - right} due today')")

            _open_tab(page, "Chat")
            page.locator("#memory button").first.click()
            page.wait_for_selector("#kept-of-me dl")
            page.click("#forget-me")
            page.click("#forget-yes")
            page.wait_for_selector("#kept-of-me .done")
            assert page.locator(".welcome").count() == 1
            page.reload()
            page.wait_for_selector(".welcome")
            _open_tab(page, "Progress")
            page.wait_for_selector("#progress-now :text('none yet')")
            assert "Mock exams 0" in " ".join(page.locator("#progress-now .times").inner_text().split())
    assert not list((tmp_path / "var" / "conversations").rglob("*.json"))
