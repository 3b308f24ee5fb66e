"""How large the checkpoint file gets: `python -m tests.agents.thousand_turns INDEX [TURNS]`, a scripted model over a real index.

Five threads take the golden questions in turn; the largest the file ever was, with its write-ahead log, is said last.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from agents.config import AgentSettings
from agents.tutor import Tutor
from core.paths import ROOT
from rag.retriever import Retriever
from serving.client import ChatClient, Endpoint
from tests.wire import model_server

THREADS = 5
SUMMARY = "The learner prepares for the exam and asked about many things. " * 6


def _reply(body: dict[str, Any]) -> str:
    """A search for what is asked, then sentences of the sources, so that answers have a real one's length and evidence."""
    asked = body["messages"][-1]["content"]
    question = re.search(r"(?:Learner|Question|Last message): (.+)", asked)
    if body.get("response_format"):
        return json.dumps({"steps": [{"tool": "search_notes", "query": question[1] if question else asked[:200]}]})
    if "Standalone question:" in asked and question:
        return question[1]
    if "<source id=" in asked:
        return " ".join(re.findall(r"[A-Z][^.\n]{40,200}\.", asked)[:5])
    return SUMMARY


def main(index: Path, turns: int) -> None:
    """Prints the file's size on the way, and the largest."""
    golden = sorted((ROOT / "data" / "eval" / "golden").glob("*.jsonl"))
    questions = [json.loads(line)["question"] for path in golden for line in path.open()]
    started, largest, cited = time.perf_counter(), 0, 0
    with tempfile.TemporaryDirectory() as folder, model_server(_reply) as (url, _):
        settings = AgentSettings(threads=Path(folder) / "threads.sqlite", learners=Path(folder) / "learners.sqlite")
        tutor = Tutor(Retriever.open(index), ChatClient(Endpoint(base_url=url, model="scripted")), settings)
        for turn in range(turns):
            reply = tutor.ask(questions[turn % len(questions)], thread=f"thread{turn % THREADS}")
            size = sum(path.stat().st_size for path in Path(folder).glob("threads.sqlite*"))
            largest = max(largest, size)
            cited += len(reply.answer.citations)
            if (turn + 1) % 100 == 0:
                print(
                    f"{turn + 1} turns: {size / 2**20:.2f} MiB, {cited} citations, {time.perf_counter() - started:.0f} s",
                    flush=True,
                )
        tutor.close()
    print(f"largest: {largest / 2**20:.2f} MiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1000)
