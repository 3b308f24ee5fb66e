"""All suites, by name, in the order a report shows them. Each file of this folder holds what it needs to know of its own."""

from __future__ import annotations

from core.errors import ConfigError
from eval.suite import Suite
from eval.suites import agent, answers, bank, claims, exam, finetune, gpu, retrieval, speed

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        retrieval.SUITE, claims.SUITE, answers.ANSWERS, answers.REFUSAL, exam.SUITE, agent.TASKS, agent.PLAIN,
        agent.ATTACKS, bank.SHAPE, bank.SOLVED, finetune.SUITE, speed.SUITE, gpu.SUITE,
    )
}  # fmt: skip

_OF_THE_MACHINE = ("speed", "gpu")


def chosen(names: list[str]) -> list[Suite]:
    """The suites of these names; `all` is all but those of the machine. ConfigError for a name there is none of."""
    wanted = [name for name in SUITES if name not in _OF_THE_MACHINE] if "all" in names else list(dict.fromkeys(names))
    if unknown := [name for name in wanted if name not in SUITES]:
        raise ConfigError(f"no suite {unknown[0]!r}. There are: {', '.join(SUITES)}, all")
    return [SUITES[name] for name in wanted]
