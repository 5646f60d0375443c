"""Writes a language model of 10 MB that a real inference engine can run: no training, no download.

The model is a llama of one block whose block does nothing. Its embedding is the identity and its output
matrix is a table: row v, column u holds log P(v follows u), counted in Python's own documentation, in
random JSON and in a line of many scripts. So the forward pass, the tokenizer, the sampler and the grammar
are the engine's real ones, and only what the model says is noise with the look of English.

A bigram model sees one token only, so the chat template (`bigram.jinja`, beside this file) ends a prompt
with a mark when the model is to think or to call a tool, and the table has a row for that mark.

Here: corpus, counts and the GGUF file. Not here: running it. Next: `engine`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pydoc_data.topics
import random
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace import errors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["cached", "fingerprint", "write"]

CONTEXT_TOKENS = 32_768
_TEMPLATE = Path(__file__).with_name("bigram.jinja")

_END_OF_TEXT, _END_OF_TURN = "<|endoftext|>", "<|im_end|>"
_CONTROL = (_END_OF_TEXT, "<|im_start|>", _END_OF_TURN, "<|tools|>", "<|reason|>")
_TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>")

# A thought is made of tokens of its own, so that it has an end: in a bigram model only the tokens can
# remember that we are thinking. Each has a space inside, which no token of the corpus has.
_THOUGHT = (
    ("let me look", "I do read", "I do weigh", "I ask once more"),
    (" at what", " closely what", " with care what"),
    (" is asked", " is given", " the words say", " could go wrong"),
    (", step by step", ", and also why", " in this case"),
    (".\nAnd then: ", ".\nBut wait. ", ".\nStill, "),
)
_PIECES = tuple(piece for column in _THOUGHT for piece in column)

_SCRIPTS = "naïve “quotes” — Ελληνικά, русский, עברית, 日本語のテキスト, 中文字符, 😀 🎉 👩‍💻"
_UNSEEN = 1e-6  # the count of a pair that never occurred: improbable, but open to a grammar
_HEAD = 32  # the size of the block that does nothing


def write(path: str | os.PathLike[str], *, vocab: int = 1536, seed: int = 7) -> Path:
    """Write the model to `path` (about 10 MB, half a second) and return the path.

    The same arguments on the same Python give the same bytes. The file appears whole or not at all, so
    several processes may write the same path.

    Args:
        path: where; folders are made.
        vocab: number of tokens; the file grows with its square. At least 400.
        seed: of the random JSON in the corpus.

    Raises:
        UsageError: `vocab` is too small, or (code `missing-extra`) gguf, numpy or tokenizers is missing.
    """
    if vocab < 400:
        raise errors.UsageError(f"vocab is {vocab!r}, but bytes and marks alone need 400 tokens")
    _require_libraries()
    prose = _paragraphs(pydoc_data.topics.topics.values())
    objects = _json_objects(prose, random.Random(seed))
    scripts = [_SCRIPTS] * 20
    tokenizer = _train(prose + objects + scripts, vocab - len(_PIECES))
    table = _follow_table(tokenizer, prose, objects, scripts)

    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
    os.close(handle)
    try:
        _write_gguf(name, tokenizer, table)
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)
    return target


def cached(folder: str | os.PathLike[str], *, vocab: int = 1536, seed: int = 7) -> Path:
    """The model in `folder`, written first when this recipe has not written it there yet.

    Raises:
        UsageError: as `write` does.
    """
    path = Path(folder) / f"bigram-{vocab}-{seed}-{fingerprint()}.gguf"
    return path if path.exists() else write(path, vocab=vocab, seed=seed)


@functools.cache
def fingerprint() -> str:
    """Twelve characters that change with this recipe, its template or the corpus (Python's version)."""
    digest = hashlib.sha256(repr(sys.version_info[:3]).encode())
    digest.update(Path(__file__).read_bytes())
    digest.update(_TEMPLATE.read_bytes())
    return digest.hexdigest()[:12]


def _require_libraries() -> None:
    try:
        import gguf  # noqa: F401
        import numpy  # noqa: F401
        import tokenizers  # noqa: F401
    except ImportError as error:
        raise errors.UsageError(
            f"writing the test model needs {error.name}: pip install gguf numpy tokenizers",
            code="missing-extra",
            details={"module": error.name},
        ) from error


# -- corpus -----------------------------------------------------------------------------------------------


def _paragraphs(topics: Iterable[str]) -> list[str]:
    """Running prose: paragraphs on one line each, without grammar rules and lists."""
    found = (" ".join(block.split()) for topic in sorted(topics) for block in topic.split("\n\n"))
    return [text for text in found if len(text) > 60 and "::=" not in text and text.count("*") < 3]


def _json_objects(prose: Sequence[str], rng: random.Random, count: int = 1500) -> list[str]:
    """Objects with words of the prose, so that constrained answers and tool arguments look like data."""
    words = sorted({w for text in prose for w in text.split() if w.isalpha() and 3 <= len(w) <= 9})

    def value(depth: int) -> Any:
        kind = rng.choices(
            ("words", "number", "flag", "null", "list", "object"),
            (45, 15, 8, 4, 13, 15) if depth < 3 else (1, 0, 0, 0, 0, 0),
        )[0]
        match kind:
            case "words":
                return " ".join(rng.choices(words, k=rng.randint(1, 6)))
            case "number":
                return rng.randint(0, 999)
            case "flag":
                return rng.random() < 0.5
            case "null":
                return None
            case "list":
                return [value(depth + 1) for _ in range(rng.randint(0, 3))]
            case _:
                return mapping(depth + 1, 4)

    def mapping(depth: int, most: int) -> dict[str, Any]:
        return {rng.choice(words): value(depth) for _ in range(rng.randint(1, most))}

    return [json.dumps(mapping(0, 5)) for _ in range(count)]


# -- tokens and counts ------------------------------------------------------------------------------------


def _train(texts: Sequence[str], vocab: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[*_CONTROL, *_TAGS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _ids(tokenizer: Any) -> dict[str, int]:
    """Every token of the model: those of the tokenizer, and after them the pieces of a thought."""
    ids: dict[str, int] = tokenizer.get_vocab()
    return ids | {piece: len(ids) + i for i, piece in enumerate(_PIECES)}


def _follow_table(
    tokenizer: Any, prose: Sequence[str], objects: Sequence[str], scripts: Sequence[str]
) -> npt.NDArray[np.float16]:
    """The output matrix: row v, column u is log P(v follows u)."""
    import numpy as np

    ids = _ids(tokenizer)
    end = ids[_END_OF_TURN]
    newline = tokenizer.encode("\n").ids[-1]
    counts = np.full((len(ids), len(ids)), _UNSEEN, np.float64)  # row u, column v while we count

    def count(tokens: Sequence[int], weight: float = 1.0) -> None:
        np.add.at(counts, (np.array(tokens[:-1]), np.array(tokens[1:])), weight)

    # A turn opens after "assistant\n", so prose is what follows a newline; its end is mostly the turn's.
    for text in prose:
        count([newline, *tokenizer.encode(text).ids, end])
    for text in objects:  # with an improbable opening: JSON comes when a grammar asks for it
        tokens = tokenizer.encode(text).ids
        count(tokens, 0.3)
        count([newline, tokens[0]], 0.001)
    for text in scripts:
        count([*tokenizer.encode(text).ids, newline], 0.3)

    think, unthink, call, uncall = (ids[tag] for tag in _TAGS)
    for before, after, weight in (
        (ids["<|reason|>"], think, 1.0),
        *((think, ids[piece], 1.0) for piece in _THOUGHT[0]),
        *(
            (ids[u], ids[v], 1.0)
            for i, column in enumerate(_THOUGHT)
            for u in column
            for v in _THOUGHT[(i + 1) % 5]
        ),
        *((ids[piece], unthink, 0.5) for piece in _THOUGHT[3]),
        (ids["<|tools|>"], call, 1.0),
        (unthink, newline, 1.0),
        (call, newline, 1.0),
        (uncall, end, 3.0),
        (uncall, newline, 1.0),  # and then, under a grammar, another call
        # Improbable in prose (1 in 100,000), but under a grammar likelier than spelling the tag in pieces.
        (newline, uncall, 0.01),
        (newline, call, 0.01),
    ):
        counts[before, after] += weight
    for token, index in ids.items():  # a tool call is over after its object more often than not
        if token.endswith("}"):
            counts[index, newline] += 2 * counts[index].sum()

    likely = np.log(counts / counts.sum(axis=1, keepdims=True)).clip(-18, 0)
    return np.ascontiguousarray(likely.T, dtype=np.float16)


# -- the file ---------------------------------------------------------------------------------------------


def _write_gguf(path: str, tokenizer: Any, table: npt.NDArray[np.float16]) -> None:
    import gguf
    import numpy as np

    ids = _ids(tokenizer)
    tokens = sorted(ids, key=ids.__getitem__)
    size = len(tokens)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    kinds = {
        **dict.fromkeys(_CONTROL, gguf.TokenType.CONTROL),
        **dict.fromkeys(_TAGS + _PIECES, gguf.TokenType.USER_DEFINED),
    }

    file = gguf.GGUFWriter(path, "llama")
    file.add_name("headrace-bigram")
    file.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    file.add_context_length(CONTEXT_TOKENS)
    file.add_embedding_length(size)
    file.add_vocab_size(size)
    file.add_block_count(1)
    file.add_feed_forward_length(_HEAD)
    file.add_head_count(1)
    file.add_head_count_kv(1)
    file.add_key_length(_HEAD)
    file.add_value_length(_HEAD)
    file.add_rope_dimension_count(_HEAD)
    file.add_layer_norm_rms_eps(1e-6)

    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("gpt-2")
    file.add_token_list(tokens)
    file.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    file.add_token_types([kinds.get(token, gguf.TokenType.NORMAL) for token in tokens])
    file.add_bos_token_id(ids[_END_OF_TEXT])
    file.add_eos_token_id(ids[_END_OF_TURN])
    file.add_eot_token_id(ids[_END_OF_TURN])
    file.add_add_bos_token(False)
    file.add_chat_template(_TEMPLATE.read_text(encoding="utf-8").rstrip("\n"))

    # The block adds zero to what passes through it. The final norm would stretch a one-hot vector by
    # the root of its size; the weight 1/sqrt(size) undoes that, so the output row reads one column.
    file.add_tensor("token_embd.weight", np.eye(size, dtype=np.float16))
    file.add_tensor("output_norm.weight", np.full(size, size**-0.5, np.float32))
    file.add_tensor("output.weight", table)
    for name in ("attn_norm", "ffn_norm"):
        file.add_tensor(f"blk.0.{name}.weight", np.ones(size, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"):
        file.add_tensor(f"blk.0.{name}.weight", np.zeros((_HEAD, size), np.float16))
    for name in ("attn_output", "ffn_down"):
        file.add_tensor(f"blk.0.{name}.weight", np.zeros((size, _HEAD), np.float16))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
