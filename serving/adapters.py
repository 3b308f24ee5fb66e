"""LoRA adapters beside a served model: versioned copies, remembered over restarts, loaded into the running vLLM.

Every version has a path and a served name of its own (`NAME-vN`): vLLM keeps cached prefixes by name and path, so a new
version under an old name could answer from the old one's cache.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core import files
from core.errors import ServingError
from core.paths import var_dir
from core.types import Message
from serving.client import ChatClient, Endpoint

DEFAULT_RANK = 32  # room kept for adapters that are published while the server runs
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
SMOKE = Message("user", "In one sentence: what is a GPU?")


@dataclass(frozen=True, slots=True)
class Adapter:
    """One published version, or a run's own adapter as version 0.

    `base` is the registry name or folder of the model it belongs to, `run` the run it came from.
    """

    name: str
    version: int
    base: str
    rank: int
    path: str
    run: str

    @property
    def served_name(self) -> str:
        """What it is called at the endpoint."""
        return f"{self.name}-v{self.version}" if self.version else self.name

    def belongs_to(self, base: str) -> bool:
        """Whether it was trained for the model served under this name."""
        return Path(self.base).name == base


def published(base: str | None = None) -> list[Adapter]:
    """The active version of each adapter, of the base served under that name or of all."""
    active = [
        Adapter(**row) for _, entry in sorted(_read().items())
        for row in entry["versions"] if row["version"] == entry["active"]
    ]  # fmt: skip
    return [adapter for adapter in active if base is None or adapter.belongs_to(base)]


def named(name: str) -> Adapter | None:
    """The active adapter served under that name."""
    return next((adapter for adapter in published() if adapter.served_name == name), None)


def of_run(folder: Path) -> Adapter | None:
    """The adapter of a fine-tuning run's folder; None where the folder is no run."""
    settings = folder / "settings.yaml"
    if not settings.is_file():
        return None
    import yaml

    base = yaml.safe_load(settings.read_text(encoding="utf-8"))["model_name_or_path"]
    adapter = folder.resolve() / "adapter"
    if not (adapter / "adapter_model.safetensors").is_file():
        raise ServingError(f"{folder}: has no finished adapter yet. Go on: python -m finetune --config {settings}")
    return Adapter(folder.resolve().name, 0, base, rank_of(adapter), str(adapter), str(folder))


def rank_of(adapter: Path) -> int:
    """The LoRA rank an adapter's folder states."""
    try:
        return int(json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["r"])
    except (OSError, ValueError, KeyError) as error:
        raise ServingError(f"{adapter}: no readable adapter_config.json ({error!r})") from None


def arguments(base: str, beside: Sequence[Adapter] = ()) -> tuple[list[str], dict[str, str]]:
    """What vLLM's command line and environment need so that adapters of `base` can be served, now or later.

    The published ones are loaded at the start, and those `beside` them.
    """
    mine = [adapter for adapter in published(base) if Path(adapter.path).is_dir()] + list(beside)
    rank = max([DEFAULT_RANK, *(adapter.rank for adapter in mine)])
    command = ["--enable-lora", "--max-loras", "2", "--max-lora-rank", str(served_rank(rank))]
    if mine:
        command += ["--lora-modules", *(f"{adapter.served_name}={adapter.path}" for adapter in mine)]
    return command, {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}


def served_rank(rank: int) -> int:
    """The smallest `--max-lora-rank` that holds a rank; ServingError above vLLM's largest."""
    for step in RANKS:
        if rank <= step:
            return step
    raise ServingError(
        f"LoRA rank {rank}: vLLM serves ranks up to {RANKS[-1]}. Train with a smaller lora_r, or merge it"
    )


def publish(name: str, source: Path, base: str, run: str, client: ChatClient) -> Adapter:
    """Copies the adapter to a new version, loads it into the running server, asks it something, and remembers it.

    Where loading or asking fails, the new version is unloaded and removed, the one before stays active, and the reason
    is raised as ServingError.
    """
    rank = rank_of(source)
    rows = _read()
    entry = rows.get(name, {"active": 0, "versions": []})
    version = max([row["version"] for row in entry["versions"]], default=0) + 1
    folder = var_dir() / "adapters" / name / f"v{version}"
    if folder.exists():
        shutil.rmtree(folder)  # left by a killed publication: it is in no record
    with files.replacing(folder) as draft:
        shutil.copytree(source, draft)
    adapter = Adapter(name, version, base, rank, str(folder), run)
    before = next((a for a in published() if a.name == name), None)
    try:
        load(client, adapter)
        _smoke(client, adapter)
    except ServingError as error:
        unload(client, adapter)
        shutil.rmtree(folder)
        stays = f"{before.served_name} stays in service" if before else "nothing was changed"
        raise ServingError(f"{name}: not published, {stays}. {error}") from error
    entry["versions"].append(asdict(adapter))
    entry["active"] = version
    _write(rows | {name: entry})
    if before is not None:
        unload(client, before)
    return adapter


def rollback(name: str, client: ChatClient | None) -> Adapter | None:
    """Makes the version before the active one active again; None where there was none, and the base alone remains."""
    rows = _read()
    if name not in rows or not rows[name]["active"]:
        known = ", ".join(a.name for a in published()) or "none"
        raise ServingError(f"{name}: no such adapter is published. Published: {known}")
    entry = rows[name]
    active = Adapter(**next(row for row in entry["versions"] if row["version"] == entry["active"]))
    older = [
        Adapter(**row) for row in entry["versions"] if row["version"] < entry["active"] and Path(row["path"]).is_dir()
    ]
    target = older[-1] if older else None
    if client is not None and target is not None:
        load(client, target)
        _smoke(client, target)
    entry["active"] = target.version if target else 0
    _write(rows)
    if client is not None:
        unload(client, active)
    return target


def load(client: ChatClient, adapter: Adapter) -> None:
    """Loads an adapter into the running server; already there is fine. Raises ServingError with the server's reason."""
    status, body = _post(
        client.endpoint, "load_lora_adapter", {"lora_name": adapter.served_name, "lora_path": adapter.path}
    )
    if status == 404:
        raise ServingError(f"{client.endpoint.base_url}: this server takes no adapters at run time. Start it anew")
    if status >= 400 and "already" not in body:
        hint = f". Start one that can: python -m serving start {adapter.run}" if "rank" in body else ""
        raise ServingError(f"vLLM refused {adapter.served_name}: {_reason(body)}{hint}")


def unload(client: ChatClient, adapter: Adapter) -> None:
    """Takes an adapter out of the running server; not there is fine."""
    _post(client.endpoint, "unload_lora_adapter", {"lora_name": adapter.served_name})


def _smoke(client: ChatClient, adapter: Adapter) -> None:
    reply = client.asking(adapter.served_name).complete([SMOKE], max_tokens=24)
    if not reply.text.strip():
        raise ServingError(f"{adapter.served_name} answered the smoke question with nothing")


def _reason(body: str) -> str:
    """The message in vLLM's error, or the body as it is."""
    try:
        found = json.loads(body)
        body = str(found.get("error", found).get("message", body))
    except (ValueError, AttributeError):
        pass
    return " ".join(body.split())[:300].rstrip(".")


def _post(endpoint: Endpoint, action: str, body: dict[str, str]) -> tuple[int, str]:
    import httpx

    try:
        reply = httpx.post(f"{endpoint.base_url}/{action}", json=body, timeout=120, trust_env=False)
    except httpx.HTTPError as error:
        raise ServingError(f"{endpoint.base_url}: cannot be reached ({error}). Is the server running?") from error
    return reply.status_code, reply.text


def _record() -> Path:
    return var_dir() / "adapters" / "adapters.json"


def _read() -> dict[str, dict]:  # type: ignore[type-arg]
    try:
        rows: dict[str, dict] = json.loads(_record().read_text(encoding="utf-8"))  # type: ignore[type-arg]
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ServingError(f"{_record()}: damaged ({error}). Remove it and publish again") from None
    return rows


def _write(rows: dict[str, dict]) -> None:  # type: ignore[type-arg]
    files.write(_record(), json.dumps(rows, indent=1))
