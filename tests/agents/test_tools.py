"""Tools by themselves: memory worked out by hand, letters read from replies, plans, drop-ins, MCP servers, the sandbox."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import mcp_client, toolbox
from agents.bank import Bank
from agents.config import McpServer
from agents.errors import AgentError, ToolError
from agents.learners import Learners
from agents.tools.gpu_memory import SHAPES, gpu_memory
from agents.tools.progress import study_plan
from agents.tools.quiz import chosen_letters
from agents.tools.run_python import run_python
from core.exam import TASKS
from core.paths import CORPUS, ROOT
from rag.documents import load_sources


def test_memory_worked_by_hand() -> None:
    # Llama 3 8B: 8.03e9 x 2 bytes; KV cache 2 x 32 x 8 x 128 x 2 bytes = 131,072 bytes a token.
    text = gpu_memory("Llama 3 8B", context=8192)
    assert "weights: 16.06 GB" in text and "KV cache: 1.07 GB (1.00 GiB)" in text and "24 GB" in text
    assert "107.84 GB" in gpu_memory("llama-2-7b", purpose="full")
    # rank 16 on Llama 3 8B: 32 x 16 x (2 x 8192 + 2 x (4096 + 1024) + 3 x (4096 + 14336)) = 41,943,040
    assert "41.94 million" in gpu_memory("llama-3-8b", purpose="qlora")


@given(st.floats(0.01, 2000), st.sampled_from(["inference", "lora", "qlora", "full"]))
def test_any_size_gets_an_answer(billions: float, purpose: str) -> None:
    assert "GiB" in gpu_memory(billions=billions, purpose=purpose)  # type: ignore[arg-type]


def test_unknown_models_are_told_the_known_ones() -> None:
    with pytest.raises(ToolError, match="llama-3-8b"):
        gpu_memory("parrot-9b")
    assert len(SHAPES) >= 10


@pytest.mark.parametrize(
    ("text", "letters"),
    [("B", {1}), ("b", {1}), ("b)", {1}), ("A and D", {0, 3}), ("I think it's C", {2}), ("a, c", {0, 2}), ("(D)", {3}),
     ("no idea", set()), ("A model", set()), ("What does A mean?", set()), ("", set()), ("E", set())],
)  # fmt: skip
def test_letters_of_a_reply(text: str, letters: set[int]) -> None:
    assert chosen_letters(text, 4) == letters


@settings(deadline=None)
@given(st.integers(1, 60))
def test_a_plan_fills_exactly_its_days(days: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = study_plan(Learners(Path(folder) / "l.sqlite").learner("x"), days).text
    spans = re.findall(r"^- Days? (\d+)(?: to (\d+))?", text, re.MULTILINE)
    covered = [day for a, b in spans for day in range(int(a), int(b or a) + 1)]
    assert days == 1 or covered == list(range(1, days + 1))


def test_a_tool_is_added_by_dropping_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "dice.py").write_text(
        "from langchain_core.tools import tool\n\n@tool\ndef coin(side: str) -> str:\n"
        '    """toss a coin"""\n    return f"it fell on {side}"\n'
    )
    tools = {t.name: t for t in toolbox.dropped_in([tmp_path])}
    assert toolbox.call(tools, "coin", {"side": "heads"}).text == "it fell on heads"
    assert toolbox.schema(tools["coin"]) == {"side": {"type": "string"}}
    with pytest.raises(ToolError, match="side"):
        toolbox.call(tools, "coin", {})
    (tmp_path / "broken.py").write_text("import nothing_there")
    with pytest.raises(AgentError, match=r"broken\.py: ModuleNotFoundError"):
        toolbox.dropped_in([tmp_path])


def test_an_mcp_server_is_attached_by_settings(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(
        "from mcp.server.mcpserver import MCPServer\nserver = MCPServer('weather')\n\n@server.tool()\n"
        "def weather(city: str) -> str:\n    'Weather of a city.'\n    if city == 'Atlantis':\n"
        "        raise ValueError('it sank')\n    return f'Rain in {city}'\n\nserver.run()\n"
    )
    server = McpServer(command=(sys.executable, str(tmp_path / "server.py")))
    tools = {t.name: t for t in mcp_client.tools({"w": server})}
    assert toolbox.schema(tools["weather"]) == {"city": {"type": "string"}}
    assert toolbox.call(tools, "weather", {"city": "Bonn"}).text == "Rain in Bonn"
    with pytest.raises(ToolError, match="weather"):
        toolbox.call(tools, "weather", {"city": "Atlantis"})
    with pytest.raises(AgentError, match="no tool snow"):
        mcp_client.tools({"w": McpServer(command=server.command, tools=("snow",))})
    with pytest.raises(AgentError, match="cannot be reached"):
        mcp_client.tools({"w": McpServer(command=(sys.executable, "-c", "raise SystemExit(1)"))})


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_the_sandbox_keeps_programs_in(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("swordfish")
    assert run_python("print(sum(range(10)))") == "The program printed:\n45"
    for escape in (
        f"print(open({str(tmp_path / 'secret')!r}).read())",
        f"open({str(tmp_path / 'new')!r}, 'w').write('x')",
        "import urllib.request; urllib.request.urlopen('http://1.1.1.1', timeout=3)",
        "import socket; socket.create_connection(('127.0.0.1', 22), 2)",
        "x = bytearray(2 << 30)",
        "open('/scratch/big', 'wb').write(bytes(32 << 20))",
        "while True: pass",
        "import os; os.kill(os.getppid() + 100000, 9)",
    ):
        with pytest.raises(ToolError):
            run_python(escape)
    assert run_python("import os; print(sorted(os.environ.get('HOME', 'none')))") != ""
    assert not (tmp_path / "new").exists()


def test_the_committed_bank_is_whole_and_balanced() -> None:
    bank = Bank.open(ROOT / "data" / "questions")
    texts = {doc.doc_id: doc.text for doc in load_sources([CORPUS])}
    assert len(bank) >= 200
    for q in bank.questions.values():
        assert texts[q.source.doc_id][q.source.start : q.source.end] == q.source.quote
        assert q.task in TASKS and q.task.startswith(f"{q.domain}.")
        assert len(q.why_not) == len(q.options) - len(q.correct) and len(set(q.options)) == len(q.options)


@pytest.mark.parametrize("content", ["not json", '{"id": 1}'])
def test_a_broken_bank_is_said_by_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "b.jsonl").write_text("\n" + content + "\n")
    with pytest.raises(AgentError, match=r"b\.jsonl:2: not (JSON|a question)"):
        Bank.open(tmp_path)
