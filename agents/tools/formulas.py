"""The formulas of the exam's arithmetic, by name, for the programs of `calculate`. Plain numbers in base units; a name's last word is the result's unit.

A small model finds the numbers of a problem far oftener than its formula, so it calls one of these; each docstring is
what it reads of it. Derivations are in the notes (`gpu-memory-arithmetic`, `nccl-and-collectives`, `lora-and-adapters`,
`inference-benchmarking`, `scaling-laws`, `classification-metrics`, `perplexity`, `ab-testing` …).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable


def weights_bytes(parameters: float, bytes_each: float) -> float:
    """memory of weights, bytes of a parameter given: parameters x bytes"""
    return parameters * bytes_each


def weights_of_bits_bytes(parameters: float, bits_each: float) -> float:
    """memory of weights, bits of a parameter given: parameters x bits / 8"""
    return parameters * bits_each / 8


def kv_cache_bytes(
    layers: float, kv_heads: float, head_dim: float, tokens: float, batch_size: float = 1, bytes_per_value: float = 2
) -> float:
    """KV cache of all sequences, keys and values: 2 x layers x kv_heads x head_dim x tokens of a sequence x sequences x bytes"""
    return 2 * layers * kv_heads * head_dim * tokens * batch_size * bytes_per_value


def training_states_bytes(parameters: float, bytes_per_parameter: float = 16, gpus_sharded: float = 1) -> float:
    """model states of full fine-tuning with Adam on each GPU: weights, gradients, optimizer; divided by GPUs for ZeRO-3"""
    return parameters * bytes_per_parameter / gpus_sharded


def lora_parameters(
    rank: float, rows: float, columns: float, layers: float = 1, matrices_per_layer: float = 1
) -> float:
    """trainable parameters of LoRA: rank x (rows + columns) for each adapted matrix of each layer; query and value are 2 matrices"""
    return rank * (rows + columns) * layers * matrices_per_layer


def training_flops(parameters: float, tokens: float) -> float:
    """compute of pretraining: 6 x parameters x tokens"""
    return 6 * parameters * tokens


def training_seconds(
    parameters: float, tokens: float, gpus: float, peak_flops_each: float, utilisation: float = 1
) -> float:
    """time of training: 6 x parameters x tokens / (gpus x peak FLOPs per second x share of the peak)"""
    return training_flops(parameters, tokens) / (gpus * peak_flops_each * utilisation)


def decode_tokens_per_second(
    bytes_read_per_step: float, bandwidth_bytes_per_second: float, batch_size: float = 1
) -> float:
    """upper bound of decoding, memory-bound: bandwidth / bytes of weights and cache read in a step x sequences"""
    return bandwidth_bytes_per_second / bytes_read_per_step * batch_size


def flops_per_byte(peak_flops: float, bandwidth_bytes_per_second: float) -> float:
    """arithmetic intensity from which a kernel is compute-bound: peak FLOPs per second / bytes per second"""
    return peak_flops / bandwidth_bytes_per_second


def ring_all_reduce_bytes(tensor_bytes: float, gpus: float) -> float:
    """bytes each GPU sends in a ring all-reduce: 2 x (n - 1) / n x size"""
    return 2 * (gpus - 1) / gpus * tensor_bytes


def ring_all_gather_bytes(tensor_bytes: float, gpus: float) -> float:
    """bytes each GPU sends in a ring all-gather or reduce-scatter: (n - 1) / n x size"""
    return (gpus - 1) / gpus * tensor_bytes


def requests_in_flight(requests_per_second: float, latency_seconds: float) -> float:
    """Little's law, mean concurrency: request rate x latency"""
    return requests_per_second * latency_seconds


def requests_per_second(in_flight: float, latency_seconds: float) -> float:
    """Little's law, throughput in requests: concurrency / latency"""
    return in_flight / latency_seconds


def output_tokens_per_second(in_flight: float, latency_seconds: float, tokens_per_answer: float) -> float:
    """throughput in tokens of a server: concurrency / latency x tokens of an answer"""
    return in_flight / latency_seconds * tokens_per_answer


def answer_seconds(ttft_seconds: float, seconds_per_token: float, tokens: float) -> float:
    """end-to-end latency: time to first token + (tokens - 1) x time per output token"""
    return ttft_seconds + (tokens - 1) * seconds_per_token


def vectors_bytes(vectors: float, dimensions: float, bytes_per_value: float = 4) -> float:
    """raw vectors of a flat index: vectors x dimensions x bytes of a value"""
    return vectors * dimensions * bytes_per_value


def table_bytes(rows: float, columns: float, bytes_per_value: float = 8) -> float:
    """memory of a table or data frame: rows x columns x bytes of a value"""
    return rows * columns * bytes_per_value


def chunk_count(tokens: float, size: float, overlap: float = 0) -> float:
    """chunks of a text cut with overlap: (tokens - overlap) / (size - overlap), rounded up"""
    return math.ceil((tokens - overlap) / (size - overlap))


def effective_batch(per_gpu: float, accumulation_steps: float = 1, gpus: float = 1) -> float:
    """global batch size: batch per GPU x gradient accumulation steps x GPUs"""
    return per_gpu * accumulation_steps * gpus


def training_steps(examples: float, batch: float, epochs: float = 1) -> float:
    """optimizer steps: examples / batch, rounded up, x epochs"""
    return math.ceil(examples / batch) * epochs


def transformer_parameters(layers: float, hidden: float, vocabulary: float = 0) -> float:
    """parameters of a transformer: 12 x layers x hidden^2 + vocabulary x hidden"""
    return 12 * layers * hidden * hidden + vocabulary * hidden


def attention_scores(tokens: float, heads: float = 1, layers: float = 1) -> float:
    """entries of the attention matrices: tokens^2 x heads x layers"""
    return tokens * tokens * heads * layers


def accuracy(right: float, total: float) -> float:
    """share of right predictions: right / total"""
    return right / total


def precision(true_positives: float, false_positives: float) -> float:
    """precision: TP / (TP + FP)"""
    return true_positives / (true_positives + false_positives)


def recall(true_positives: float, false_negatives: float) -> float:
    """recall, sensitivity, true positive rate: TP / (TP + FN)"""
    return true_positives / (true_positives + false_negatives)


def specificity(true_negatives: float, false_positives: float) -> float:
    """specificity, true negative rate: TN / (TN + FP)"""
    return true_negatives / (true_negatives + false_positives)


def f1_from_counts(true_positives: float, false_positives: float, false_negatives: float) -> float:
    """F1 score from counts of a confusion matrix: 2 TP / (2 TP + FP + FN)"""
    return 2 * true_positives / (2 * true_positives + false_positives + false_negatives)


def f1_from_precision_and_recall(precision: float, recall: float) -> float:
    """F1 score from precision and recall: 2 x precision x recall / (precision + recall)"""
    return 2 * precision * recall / (precision + recall)


def mean(*values: float) -> float:
    """arithmetic mean of numbers"""
    return math.fsum(values) / len(values)


def standard_deviation(*values: float) -> float:
    """sample standard deviation of numbers, n - 1 below the line"""
    middle = mean(*values)
    return math.sqrt(math.fsum((v - middle) ** 2 for v in values) / (len(values) - 1))


def z_score(value: float, mean_value: float, deviation: float) -> float:
    """standardised value: (value - mean) / standard deviation"""
    return (value - mean_value) / deviation


def standard_error(share: float, n: float) -> float:
    """standard error of a proportion: sqrt(p x (1 - p) / n)"""
    return math.sqrt(share * (1 - share) / n)


def sample_size_per_arm(share_a: float, share_b: float) -> float:
    """users in each arm of an A/B test of two proportions at alpha 0.05 two-sided and power 0.80: (1.96 + 0.84)^2 (p1 q1 + p2 q2) / (p1 - p2)^2"""
    spread = share_a * (1 - share_a) + share_b * (1 - share_b)
    return math.ceil((1.96 + 0.84) ** 2 * spread / (share_a - share_b) ** 2)


def any_false_positive(alpha: float, tests: float) -> float:
    """probability of at least one false positive in independent tests: 1 - (1 - alpha)^tests"""
    return 1 - math.pow(1 - alpha, tests)


def cohens_kappa(observed: float, chance: float) -> float:
    """agreement beyond chance: (p_o - p_e) / (1 - p_e)"""
    return (observed - chance) / (1 - chance)


def perplexity(cross_entropy_nats: float) -> float:
    """perplexity from mean cross-entropy loss in nats: exp(loss)"""
    return math.exp(cross_entropy_nats)


def softmax_of_first(*logits: float) -> float:
    """softmax probability of the first of several logits: exp(first) / sum of exp(logit)"""
    return 1 / math.fsum(math.exp(z - logits[0]) for z in logits)


def entropy_bits(*probabilities: float) -> float:
    """entropy of a distribution in bits: -sum of p x log2 p"""
    return -math.fsum(p * math.log2(p) for p in probabilities if p)


def cross_entropy_nats(probability: float) -> float:
    """loss of one prediction: -ln of the probability given to the right class"""
    return -math.log(probability)


def idf(documents: float, containing: float) -> float:
    """inverse document frequency: ln(documents / documents containing the term)"""
    return math.log(documents / containing)


def reciprocal_rank_mean(*ranks: float) -> float:
    """MRR from the rank of the first relevant result of each query: mean of 1 / rank"""
    return mean(*(1 / rank for rank in ranks))


def brevity_penalty(candidate: float, reference: float) -> float:
    """BLEU's brevity penalty from lengths in words: exp(1 - reference / candidate) where the candidate is shorter"""
    return 1.0 if candidate >= reference else math.exp(1 - reference / candidate)


def word_error_rate(substitutions: float, deletions: float, insertions: float, reference_words: float) -> float:
    """WER: (substitutions + deletions + insertions) / words of the reference"""
    return (substitutions + deletions + insertions) / reference_words


def disparate_impact(rate_unprivileged: float, rate_privileged: float) -> float:
    """ratio of selection rates, 0.8 being the four-fifths rule: rate of the unprivileged group / of the privileged"""
    return rate_unprivileged / rate_privileged


def speculative_tokens_per_pass(draft_tokens: float, acceptance_rate: float) -> float:
    """mean tokens of one pass of speculative decoding: (1 - acceptance^(draft tokens + 1)) / (1 - acceptance)"""
    return (1 - math.pow(acceptance_rate, draft_tokens + 1)) / (1 - acceptance_rate)


def discounted_gain(*gains: float) -> float:
    """DCG of gains in ranked order: sum of gain / log2(rank + 1)"""
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def amdahl_speedup(parallel_share: float, workers: float) -> float:
    """speedup by Amdahl's law: 1 / ((1 - p) + p / n)"""
    return 1 / ((1 - parallel_share) + parallel_share / workers)


def percent_change(before: float, after: float) -> float:
    """change in per cent: (after - before) / before x 100"""
    return (after - before) / before * 100


FORMULAS: dict[str, Callable[..., float]] = {
    function.__name__: function
    for function in (
        weights_bytes, weights_of_bits_bytes, kv_cache_bytes, training_states_bytes, lora_parameters, training_flops, training_seconds,
        decode_tokens_per_second, flops_per_byte, ring_all_reduce_bytes, ring_all_gather_bytes, requests_in_flight,
        requests_per_second, output_tokens_per_second, answer_seconds, vectors_bytes, table_bytes, chunk_count,
        effective_batch, training_steps, transformer_parameters, attention_scores, accuracy, precision, recall,
        specificity, f1_from_counts, f1_from_precision_and_recall, mean, standard_deviation, z_score, standard_error,
        sample_size_per_arm, any_false_positive, cohens_kappa, perplexity, softmax_of_first, entropy_bits,
        cross_entropy_nats, idf, reciprocal_rank_mean, brevity_penalty, word_error_rate, disparate_impact, speculative_tokens_per_pass, discounted_gain,
        amdahl_speedup, percent_change,
    )
}  # fmt: skip


# Between what an argument lies, and what a small model that passes anything else mostly forgot.
_A_SHARE = (0.0, 1.0, "a share lies between 0 and 1: write 80 * percent")
_ONE_VALUE = (0.1, 16.0, "one value has up to 8 bytes: FP32 has 4, BF16 2, INT8 1, and b bits are b / 8 bytes")
_SHARES = "utilisation share share_a share_b alpha observed probability acceptance_rate parallel_share"
_BOUNDS: dict[str, tuple[float, float, str]] = {
    "bytes_each": _ONE_VALUE,
    "bytes_per_value": _ONE_VALUE,
    "bytes_per_parameter": (0.1, 64.0, "full training takes about 16 bytes of a parameter"),
    "parameters": (1000.0, math.inf, "it counts single parameters: write 7 * billion"),
    "peak_flops": (1e9, math.inf, "it is in FLOPs a second: write 300 * TFLOPS"),
    "peak_flops_each": (1e9, math.inf, "it is in FLOPs a second: write 300 * TFLOPS"),
    "bandwidth_bytes_per_second": (1e6, math.inf, "it is in bytes a second: write 900 * GB"),
    **dict.fromkeys(_SHARES.split(), _A_SHARE),
}


def apply(name: str, *given: float, **named: float) -> float:
    """The formula's value. ValueError for an argument that cannot be meant, TypeError for one too few or too many."""
    bound = inspect.signature(FORMULAS[name]).bind(*given, **named)
    for argument, value in bound.arguments.items():
        low, high, advice = _BOUNDS.get(argument, (-math.inf, math.inf, ""))
        if not isinstance(value, tuple) and not low <= value <= high:
            raise ValueError(f"{argument}={value:g}, but {advice}")
    return FORMULAS[name](*given, **named)


def line(name: str) -> str:
    """What the model reads of a formula: its name, its arguments, what it is."""
    function = FORMULAS[name]
    arguments = ", ".join(
        f"{'*' if p.kind is p.VAR_POSITIONAL else ''}{p.name}{'' if p.default is p.empty else f'={p.default:g}'}"
        for p in inspect.signature(function).parameters.values()
    )
    return f"{name}({arguments}): {inspect.getdoc(function)}"
