"""The loss falls on what the assistant says, up to its end of turn, and on nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from core.errors import DatasetError
from core.types import Message
from finetune.config import FinetuneSettings
from finetune.dataset import IGNORED, load, split_off, tokenize
from finetune.formats import Conversation
from finetune.model import load_tokenizer

words = st.text(st.characters(codec="utf-8", exclude_characters="<|>", exclude_categories=("Cs", "Cc")), min_size=1).filter(str.strip)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(chat_model: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(chat_model)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=3), st.one_of(st.none(), words))
def test_trained_tokens_spell_the_answers_and_their_ends(
    tokenizer: PreTrainedTokenizerBase, turns: list[tuple[str, str]], system: str | None
) -> None:
    messages = [Message("system", system)] if system else []
    for asked, answered in turns:
        messages += [Message("user", asked), Message("assistant", answered)]
    sample = tokenize(Conversation(tuple(messages), "x:1"), tokenizer)
    trained = [token for token, label in zip(sample.input_ids, sample.labels, strict=True) if label != IGNORED]
    assert tokenizer.decode(trained) == "".join(f"{answered}<|im_end|>" for _, answered in turns)
    assert all(label in (IGNORED, token) for token, label in zip(sample.input_ids, sample.labels, strict=True))


def test_a_template_without_an_end_of_turn_is_refused(chat_model: Path) -> None:
    tokenizer = load_tokenizer(chat_model)
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    row = Conversation((Message("user", "hi"), Message("assistant", "hello")), "d.jsonl:7")
    with pytest.raises(DatasetError, match=r"d\.jsonl:7: an assistant turn ends without an end-of-turn token"):
        tokenize(row, tokenizer)


def test_a_template_that_masks_nothing_is_refused(chat_model: Path) -> None:
    tokenizer = load_tokenizer(chat_model)
    tokenizer.chat_template = "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ m['content'] + '<|im_end|>' }}{% endif %}{% endfor %}"
    row = Conversation((Message("user", "hi"), Message("assistant", "hello")), "d.jsonl:7")
    with pytest.raises(DatasetError, match=r"d\.jsonl:7: nothing is masked"):
        tokenize(row, tokenizer)


def test_a_template_that_rewrites_earlier_turns_is_refused(chat_model: Path) -> None:
    tokenizer = load_tokenizer(chat_model)
    tokenizer.chat_template = (
        "{{ messages|length }}{% for m in messages %}{{ m['content'] + '<|im_end|>' }}{% endfor %}"
    )
    turns = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"), Message("assistant", "d"))
    with pytest.raises(DatasetError, match="rewrites earlier turns"):
        tokenize(Conversation(turns, "d.jsonl:7"), tokenizer)


@given(st.lists(st.integers(0, 9), min_size=12, max_size=60), st.floats(0.05, 0.5), st.integers(0, 5))
def test_a_note_is_never_on_both_sides(notes: list[int], share: float, seed: int) -> None:
    rows = [
        Conversation((Message("user", f"{i}"), Message("assistant", "x")), f"r:{i}", {"note": f"n{note}"})
        for i, note in enumerate(notes)
    ]
    try:
        train, held_out = split_off(rows, share, seed)
    except DatasetError:
        assert len(set(notes)) < 4  # few notes may all be needed to make up the share
        return
    assert len(train) + len(held_out) == len(rows) and held_out
    assert not {r.extra["note"] for r in train} & {r.extra["note"] for r in held_out}


def test_rows_that_are_too_long_are_left_out_whole_and_named(chat_model: Path, rows: Path) -> None:
    tokenizer = load_tokenizer(chat_model)
    everything = load(FinetuneSettings(datasets=(rows,), max_length=512), tokenizer)
    longest = max(map(len, everything.train))
    fewer = load(FinetuneSettings(datasets=(rows,), max_length=longest - 1), tokenizer)
    assert fewer.overlong and all(where.startswith(f"{rows}:") for where in fewer.overlong)
    assert len(fewer.train) + len(fewer.validation) + len(fewer.overlong) == 48
    with pytest.raises(DatasetError, match="every row is longer than max_length"):
        load(FinetuneSettings(datasets=(rows,), max_length=16), tokenizer)
