"""A language model of the smallest kind: the real file format and arithmetic, with weights from a seeded random source.

What it writes has no meaning. Its words are syllables, some with accents, and emoji, so that a reader of
its stream meets characters of one to four bytes.
"""

import itertools
from pathlib import Path

import gguf
import numpy

CONTEXT_TOKENS = 32_768
HEADS = 4
CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def write_tiny_model(path: Path, *, width: int, layers: int, seed: int) -> None:
    """Writes the same file for the same width, layers and seed; wider and deeper means slower."""
    random = numpy.random.default_rng(seed)
    tokens, scores, kinds = vocabulary()
    hidden = width * 2

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(CHAT_TEMPLATE)

    def matrix(name: str, rows: int, columns: int) -> None:
        weights = random.standard_normal((rows, columns), dtype=numpy.float32) / numpy.sqrt(columns)
        writer.add_tensor(name, weights.astype(numpy.float32))

    def ones(name: str) -> None:
        writer.add_tensor(name, numpy.ones(width, dtype=numpy.float32))

    matrix("token_embd.weight", len(tokens), width)
    writer.add_tensor("output.weight", output_weights(random, kinds, width))
    ones("output_norm.weight")
    for layer in range(layers):
        ones(f"blk.{layer}.attn_norm.weight")
        ones(f"blk.{layer}.ffn_norm.weight")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"blk.{layer}.{part}.weight", width, width)
        matrix(f"blk.{layer}.ffn_gate.weight", hidden, width)
        matrix(f"blk.{layer}.ffn_up.weight", hidden, width)
        matrix(f"blk.{layer}.ffn_down.weight", width, hidden)

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def output_weights(random: numpy.random.Generator, kinds: list[int], width: int) -> numpy.ndarray:
    """Scores spread widely for words, and nothing for single bytes, which are then hardly ever chosen."""
    weights = 3 * random.standard_normal((len(kinds), width), dtype=numpy.float32) / numpy.sqrt(width)
    end_of_text = 2
    for token, kind in enumerate(kinds):
        if kind != gguf.TokenType.NORMAL and token != end_of_text:
            weights[token] = 0
    return weights.astype(numpy.float32)


def vocabulary() -> tuple[list[bytes], list[float], list[int]]:
    """Three special tokens, one for each byte (as every model of this family has), then words."""
    special = [b"<unk>", b"<s>", b"</s>"]
    single = [f"<0x{byte:02X}>".encode() for byte in range(256)]
    syllables = ["".join(pair) for pair in itertools.product("bdklmnrst", ["a", "e", "i", "o", "u", "ä", "é"])]
    words = syllables + [f"\u2581{syllable}" for syllable in syllables]
    words += ["\u2581\U0001f600", "\u2581\U0001f680", "\u2581\u2014", ".", ",", "\u2581#"]
    words += list("abcdefghijklmnopqrstuvwxyz<>{}:?!'\"-") + ["\u2581"]
    words = list(dict.fromkeys(words))

    tokens = special + single + [word.encode() for word in words]
    scores = [0.0] * (len(special) + len(single)) + [-float(rank) for rank in range(len(words))]
    kind = gguf.TokenType
    kinds = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL] + [kind.BYTE] * len(single) + [kind.NORMAL] * len(words)
    return tokens, scores, [int(kind) for kind in kinds]
