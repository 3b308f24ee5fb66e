"""The NCA-GENL exam as facts: domains, weights and task statements, paraphrased.

Source: NVIDIA's published NCA-GENL study guide, as reported in 2026. The guide lists topics rather than numbered
statements for Experimentation: the 3.x numbers are this project's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

AS_OF = "2026-11"
QUESTIONS = 50
MINUTES = 60
YEARS_VALID = 2
LETTERS = ("A", "B", "C", "D")


@dataclass(frozen=True, slots=True)
class Task:
    """A task statement, numbered `domain.n`."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain and its share of the exam, in percent."""

    number: int
    name: str
    weight: int
    tasks: tuple[Task, ...]


def _tasks(domain: int, *texts: str) -> tuple[Task, ...]:
    return tuple(Task(f"{domain}.{n}", text) for n, text in enumerate(texts, 1))


DOMAINS: tuple[Domain, ...] = (
    Domain(
        1,
        "Core Machine Learning and AI Knowledge",
        30,
        _tasks(
            1,
            "Help deploy a model and evaluate its scalability, performance and reliability",
            "Extract insight from large data sets",
            "Build RAG, chatbot and summariser use cases",
            "Curate and embed content for RAG",
            "Apply ML fundamentals: feature engineering, model comparison, cross-validation",
            "Use Python NLP packages: spaCy, NumPy, vector databases",
            "Read papers to follow LLM trends",
            "Choose and use embedding models",
            "Engineer prompts",
            "Use Python packages for classical machine learning",
        ),
    ),
    Domain(
        2,
        "Software Development",
        24,
        _tasks(
            2,
            "Deploy and evaluate models",
            "Build LLM use cases",
            "Use Python NLP packages",
            "Identify the data, hardware and software a need calls for",
            "Monitor data collection, experiments and processes",
            "Use classical machine learning in Python",
            "Write software components under supervision",
        ),
    ),
    Domain(
        3,
        "Experimentation",
        22,
        _tasks(
            3,
            "Design experiments and A/B tests",
            "Validate with cross-validation and hold-outs",
            "Evaluate zero-, one- and few-shot",
            "Use GLUE and other benchmarks",
            "Score text with BLEU, ROUGE and perplexity",
            "Evaluate RAG and detect hallucination",
            "Run inference-optimisation experiments",
            "Use RLHF and human labelling",
        ),
    ),
    Domain(
        4,
        "Data Analysis and Visualization",
        14,
        _tasks(
            4,
            "Mine and visualise data",
            "Compare models by statistical metrics such as loss and explained variance",
            "Analyse data under supervision",
            "Draw charts",
            "Find relationships and trends",
        ),
    ),
    Domain(
        5,
        "Trustworthy AI",
        10,
        _tasks(
            5,
            "Apply ethical principles",
            "Protect privacy and obtain consent",
            "Use NVIDIA and other technology for trustworthiness",
            "Minimise bias",
        ),
    ),
)

TASKS: dict[str, Task] = {task.id: task for domain in DOMAINS for task in domain.tasks}


def outline() -> str:
    """What is known of the exam itself: its length, and its domains with their weights."""
    domains = "\n".join(f"- {d.number}. {d.name}: {d.weight} %" for d in DOMAINS)
    return (
        f"NCA-GENL is a multiple-choice exam of about {QUESTIONS} questions (reports say 50 to 60) in {MINUTES} minutes, taken "
        f"online under a proctor; the certificate is valid for {YEARS_VALID} years. Its domains and their weights:\n\n{domains}\n\n"
        f"This is NVIDIA's study guide as reported in {AS_OF}. Price, registration and pass mark are on NVIDIA's certification "
        "page: I hold no figures for them."
    )


def apportion(n: int, weights: Sequence[float]) -> list[int]:
    """n shared out by weight, by largest remainder (Hamilton's method)."""
    exact = [n * w / sum(weights) for w in weights]
    found = [int(e) for e in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (found[i] - exact[i], i))
    for i in by_remainder[: n - sum(found)]:
        found[i] += 1
    return found
