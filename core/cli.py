"""How every `python -m ROOM` ends: 0, or one clear line and exit code 2 on a user's mistake."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable

from core.environment import ensure
from core.errors import ConfigError, GenlError


class Parser(argparse.ArgumentParser):
    """argparse with the house rule for mistakes: one line, which names the fix, and exit code 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise ConfigError(f"{message}. See `{self.prog} --help`")


def run(main: Callable[[], None]) -> None:
    """Runs a command, in `.venv` where this Python lacks the libraries; GenlError becomes one line on stderr and exit code 2, Ctrl-C exit code 130."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # On some CPUs bitsandbytes looks for a faster kernel on a hub and does well without it.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    try:
        ensure()
        main()
    except GenlError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(141) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None
