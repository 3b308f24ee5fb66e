"""From a run folder to an adapter in service, and back again."""

from __future__ import annotations

from pathlib import Path

from core.errors import TrainingError
from finetune import run
from finetune.config import unservable


def publish(folder: Path, name: str | None) -> None:
    """Loads a run's adapter into the server that serves its base; starts one for the occasion where none runs."""
    from serving import adapters
    from serving.connect import connect, served_name
    from serving.vllm import recorded

    settings = run.settings_of(folder)
    refused = unservable(settings)
    if refused:
        raise TrainingError(f"{folder}: cannot be published: {'; '.join(refused)}")
    source = run.adapter_of(folder)
    base = settings.model_name_or_path
    # A server started for the occasion is given this run, so that it makes room for its rank.
    with connect(base if recorded([served_name(base)]) else str(folder)) as client:
        done = adapters.publish(name or folder.name, source, base, str(folder), client)
    print(
        f"{done.served_name}: in service beside {served_name(base)}. Back again: python -m finetune rollback {done.name}"
    )


def rollback(name: str) -> None:
    """The version before, in the running server too where one serves its base."""
    from serving import adapters
    from serving.client import ChatClient, Endpoint
    from serving.vllm import recorded

    running = recorded()
    mine = [adapter for adapter in adapters.published() if adapter.name == name]
    serves = running is not None and any(adapter.belongs_to(running.model) for adapter in mine)
    client = ChatClient(Endpoint(base_url=running.url, model=running.model)) if running and serves else None
    target = adapters.rollback(name, client)
    print(
        f"{target.served_name}: in service again"
        if target
        else f"{name}: no version before; the base alone is in service"
    )
