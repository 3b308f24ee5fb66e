"""What stands behind the page: the open index, the model server, and one question's way through both."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from agents.bank import Bank
from agents.config import AgentSettings
from agents.tutor import Finished, Tutor
from app import uploads
from app.config import AppSettings
from core.config import load
from core.errors import GenlError, ServingError
from core.types import Document
from rag.answering import Event
from rag.building import BuildReport, build
from rag.retriever import Retriever
from serving.client import ChatClient, Endpoint
from serving.vllm import ServerStatus, Supervisor


class Service:
    """Shared by all visitors. The index is swapped whole; a question keeps the one it began with."""

    def __init__(self, settings: AppSettings, supervisor: Supervisor | None, client: ChatClient) -> None:
        self.settings, self.supervisor, self.client = settings, supervisor, client
        self._changing = threading.Lock()
        self.retriever: Retriever = Retriever.open(settings.index)
        self.tutor = Tutor(self.retriever, client, load(AgentSettings, settings.agent))

    @staticmethod
    def client_of(supervisor: Supervisor) -> ChatClient:
        """A client for the supervised server. One retry: the page itself waits for a restart."""
        return ChatClient(Endpoint(base_url=supervisor.url, model=supervisor.name, max_retries=1))

    def status(self) -> ServerStatus:
        """How the model is."""
        if self.supervisor is not None:
            return self.supervisor.status()
        e = self.client.endpoint
        return ServerStatus("ready", f"{e.model} is ready", e.base_url, e.model, None, 0.0)

    def wait_for_model(self, cancel: threading.Event) -> Iterator[ServerStatus]:
        """Yields the status about once a second until the model is ready; ServingError when it will not be."""
        deadline = time.monotonic() + self.settings.wait_for_model_s
        while (status := self.status()).state != "ready":
            if status.state in ("failed", "stopped"):
                raise ServingError(status.detail)
            if time.monotonic() > deadline:
                raise ServingError(f"{status.model} is not ready after {self.settings.wait_for_model_s:.0f} s")
            if cancel.wait(1.0):
                return
            yield status

    def models(self) -> list[str]:
        """What can be asked: the base and its adapters; the usual one alone while the server is not ready."""
        try:
            return self.client.models() if self.status().state == "ready" else [self.client.endpoint.model]
        except ServingError:
            return [self.client.endpoint.model]

    def ask(
        self, question: str, thread: str, cancel: threading.Event, model: str | None, learner: str
    ) -> tuple[Retriever, Iterator[Event | Finished]]:
        """The events of one run by that model (else the usual one), and the index it is answered from."""
        retriever = self.retriever
        client = self.client.asking(model) if model else self.client
        events = self.tutor.stream(
            question, thread=thread, learner=learner, cancel=cancel, client=client, retriever=retriever
        )
        return retriever, events

    def add(self, path: Path, name: str) -> str:
        """Takes a document into the index; its stored name."""
        with self._changing:
            stored = uploads.store(path, name, self.settings.uploads, self.settings.upload_mib)
            try:
                self._rebuild()
            except GenlError:
                stored.unlink(missing_ok=True)
                raise
            return stored.name

    def forget(self, name: str) -> None:
        """Removes a document and every trace of it from the index."""
        with self._changing:
            uploads.forget(self.settings.uploads, name)
            self._rebuild()

    def document(self, doc_id: str) -> Document:
        """A document of the present index."""
        return self.retriever.document(doc_id)

    @property
    def bank(self) -> Bank:
        """All practice questions, also those reported: a sitting that has begun keeps them."""
        return self.tutor.whole_bank

    def documents(self, doc_ids: Iterable[str]) -> dict[str, Document]:
        """Those of the documents that the index holds."""
        held = self.retriever.documents()
        return {i: held[i] for i in doc_ids if i in held}

    def _rebuild(self) -> None:
        build_index(self.settings, progress=False)
        self.retriever = Retriever.open(self.settings.index)


def build_index(settings: AppSettings, progress: bool = True) -> BuildReport:
    """Brings the index up to date with the notes and the uploads."""
    sources = [settings.corpus]
    if uploads.names(settings.uploads):
        sources.append(settings.uploads)
    return build(sources, settings.index, progress=progress)
