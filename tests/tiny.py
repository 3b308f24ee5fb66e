"""Real models of toy size, made on the spot and read by the production loaders."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path


def embedder(folder: Path, texts: Iterable[str], seed: int = 0) -> Path:
    """A 2-layer, 32-wide BERT as a sentence-transformers folder, whose vocabulary is the words of `texts`."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    bert = folder / "bert"
    _bert(bert, texts, seed, "BertModel")
    transformer = Transformer(str(bert), max_seq_length=128)
    SentenceTransformer(modules=[transformer, Pooling(32, "mean")], device="cpu").save(str(folder / "embedder"))
    return folder / "embedder"


def cross_encoder(folder: Path, texts: Iterable[str], seed: int = 0) -> Path:
    """The same BERT with one output for a pair of texts."""
    _bert(folder, texts, seed, "BertForSequenceClassification")
    return folder


def _bert(folder: Path, texts: Iterable[str], seed: int, kind: str) -> None:
    import torch
    import transformers

    words = sorted({w for text in texts for w in re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower())})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]), encoding="utf-8"
    )
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(words) + 5,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
        num_labels=1,
        initializer_range=0.5,
        hidden_dropout_prob=0.0,  # so few dimensions drown in it
        attention_probs_dropout_prob=0.0,
    )
    getattr(transformers, kind)(config).save_pretrained(folder)
    transformers.BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)


CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def chat_model(folder: Path, texts: Iterable[str], seed: int = 0) -> Path:
    """A 2-layer, 32-wide Llama with a byte-level BPE tokenizer trained on `texts` and a ChatML template."""
    import tokenizers
    import torch
    import transformers

    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(list(texts), trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=special[0], eos_token=special[1], pad_token=special[1]
    )
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def lora(base: Path, folder: Path, seed: int, rank: int = 8) -> Path:
    """An adapter that makes its base say something else, written by PEFT."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, local_files_only=True), config)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:  # A as well: peft draws it from torch's own generator
                weight.copy_(torch.randn(weight.shape, generator=draw) * 0.05)
    model.save_pretrained(folder)
    return folder
