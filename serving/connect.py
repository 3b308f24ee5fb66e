"""A client for whatever model is meant: an endpoint by URL, the server that is running, or one started for the occasion."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from core.errors import ServingError
from serving import adapters
from serving.adapters import Adapter
from serving.client import ChatClient, Endpoint
from serving.registry import Machine


@contextmanager
def connect(model: str | None = None) -> Iterator[ChatClient]:
    """A ready client. `model` is an endpoint's URL, a registry name, a folder of weights, a fine-tuning run's folder, a
    published adapter's served name, or None for what is served.

    `$GENL_BASE_URL` (with `$GENL_API_KEY` and `$GENL_MODEL`) stands in for a model not given. A server started here is
    stopped on exit. Raises ServingError, WeightsError, ConfigError.
    """
    url = model if is_url(model) else (os.environ.get("GENL_BASE_URL") if model is None else None)
    if url:
        yield remote(url)
        return
    from serving.vllm import Supervisor, recorded, wait_with_progress

    base, adapter = target(model)
    running = recorded([served_name(base)] if base else [])
    if running is not None:
        client = ChatClient(Endpoint(base_url=running.url, model=running.model))
        _wait_healthy(client)
        if adapter is not None:
            adapters.load(client, adapter)
        yield client.asking(adapter.served_name) if adapter else client
        return
    name, folder = locate(base)
    supervisor = Supervisor(name, folder, build=beside(adapter))
    supervisor.start()
    try:
        wait_with_progress(supervisor)
        yield ChatClient(Endpoint(base_url=supervisor.url, model=adapter.served_name if adapter else name))
    finally:
        supervisor.stop()


def target(model: str | None) -> tuple[str | None, Adapter | None]:
    """What to serve for a `--model` value, and the adapter to ask where a run or a published adapter is meant."""
    adapter = (adapters.of_run(Path(model)) or adapters.named(model)) if model else None
    return (adapter.base, adapter) if adapter else (model, None)


def beside(adapter: Adapter | None) -> Callable[[Path, str, int, Machine], tuple[list[str], dict[str, str]]]:
    """vLLM's command with an adapter beside those that are published."""
    from serving.vllm import command

    return partial(command, beside=[adapter] if adapter and not adapter.version else [])


def is_url(model: str | None) -> bool:
    """Whether a `--model` value means an endpoint."""
    return bool(model) and str(model).startswith(("http://", "https://"))


def remote(url: str) -> ChatClient:
    """A client for an OpenAI-compatible endpoint; its first model, unless `$GENL_MODEL` names one."""
    import openai

    base = url.rstrip("/")
    base = base if base.endswith("/v1") else base + "/v1"
    key = os.environ.get("GENL_API_KEY") or os.environ.get("OPENAI_API_KEY") or "none"
    name = os.environ.get("GENL_MODEL")
    if not name:
        try:
            listed = openai.OpenAI(base_url=base, api_key=key, timeout=10, max_retries=1).models.list().data
        except openai.OpenAIError as error:
            raise ServingError(
                f"{base}: no model list from there ({' '.join(str(error).split())[:150]}). Check the URL and GENL_API_KEY"
            ) from error
        if not listed:
            raise ServingError(f"{base}: serves no model. Set GENL_MODEL")
        name = listed[0].id
    return ChatClient(Endpoint(base_url=base, model=name, api_key=key))


def served_name(model: str) -> str:
    """What a model is called at its endpoint: the registry name, the folder's, or the run's where it is merged weights."""
    folder = Path(model).resolve()
    if not folder.is_dir():
        return model
    return folder.parent.name if folder.name == "merged" else folder.name


def locate(model: str | None) -> tuple[str, Path]:
    """Served name and folder of ready weights; fetched when missing."""
    from serving.registry import default_chat_model
    from serving.weights import ensure

    if model and Path(model).is_dir():
        if not (Path(model) / "config.json").exists():
            raise ServingError(f"{model}: no config.json there: not a folder of weights")
        return served_name(model), Path(model).resolve()
    name = model or default_chat_model()
    return name, ensure(name)


def _wait_healthy(client: ChatClient, timeout_s: float = 300) -> None:
    """The recorded server may still be starting, or coming back after a crash."""
    deadline = time.monotonic() + timeout_s
    while not client.healthy():
        if time.monotonic() > deadline:
            raise ServingError(
                f"{client.endpoint.base_url}: not ready after {timeout_s:.0f} s. See: python -m serving check"
            )
        time.sleep(0.5)
