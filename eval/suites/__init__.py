"""All suites, by name, in the order a report shows them. Each file of this folder holds what it needs to know of its own."""

from __future__ import annotations

from collections.abc import Collection

from core.errors import ConfigError
from eval.suite import Suite
from eval.suites import agent, answers, bank, claims, exam, finetune, gpu, growth, peers, retrieval, speed

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        retrieval.SUITE, claims.SUITE, answers.ANSWERS, answers.REFUSAL, exam.SUITE, agent.TASKS, agent.PLAIN,
        agent.ATTACKS, bank.SHAPE, bank.SOLVED, finetune.SUITE, finetune.MTRAG, peers.SUITE, growth.SUITE, speed.SUITE, gpu.SUITE,
    )
}  # fmt: skip

_OF_THE_MACHINE = ("peers", "growth", "speed", "gpu")


def chosen(names: Collection[str], given: Collection[str] = ()) -> list[Suite]:
    """The suites of these names; `all` is all but those of the machine and those that lack data, which is `given` by name.

    ConfigError for a name there is none of, and for a suite named that lacks its data.
    """
    if unknown := [name for name in (*names, *given) if name not in (*SUITES, "all")]:
        raise ConfigError(f"no suite {unknown[0]!r}. There are: {', '.join(SUITES)}, all")
    lacking = [name for name, suite in SUITES.items() if "data" in suite.needs and name not in given]
    if named := [name for name in names if name in lacking]:
        raise ConfigError(f"{named[0]} has no cases of its own: --data {named[0]}=PATH")
    if "all" in names:
        return [suite for name, suite in SUITES.items() if name not in (*_OF_THE_MACHINE, *lacking)]
    return [SUITES[name] for name in dict.fromkeys(names)]
