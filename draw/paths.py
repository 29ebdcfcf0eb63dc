"""The scope of each node, as its exporter wrote it down: in metadata, in names, or not at all."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import takewhile
from typing import Any, TypeAlias

from onnxla.ir.model import Node

ScopePath: TypeAlias = tuple[str, ...]
SCOPES = "pkg.torch.onnx.name_scopes"
LONGEST = 10_000  # characters of metadata that are read
DEEPEST = 24  # scopes of a node


def paths_of(nodes: Sequence[Node], constants: Mapping[str, Any]) -> list[ScopePath]:
    """The scope of each node. Those that say nothing are where their neighbours are.

    Args:
        nodes: Nodes of one graph, in order.
        constants: Names of constants are among its keys; they tell where those of nodes do not.
    """
    found = [stated(node) for node in nodes]
    if not any(found):
        found = [by_constants(node, constants) for node in nodes]
    return [path[:DEEPEST] for path in between(with_readers(nodes, found, constants))]


def stated(node: Node) -> ScopePath | None:
    """What PyTorch's metadata or the node's name say of its scope; None if nothing."""
    if text := node.metadata.get(SCOPES, ""):
        return of_metadata(text)
    name = node.name.split(";")[0]
    if "/" not in name:
        return None
    return tuple(part for part in name.split("/")[:-1] if part)


def of_metadata(text: str) -> ScopePath | None:
    """PyTorch's list of modules around a node, of which each begins with the one before."""
    try:
        scopes = ast.literal_eval(text[:LONGEST])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(scopes, list) or not all(isinstance(each, str) for each in scopes):
        return None
    modules, before = [], ""
    for scope in scopes[:-1]:  # the last one is the node itself
        if scope:
            modules.append(scope.removeprefix(f"{before}.") or scope)
            before = scope
    return tuple(modules)


def by_constants(node: Node, constants: Mapping[str, Any]) -> ScopePath | None:
    """The scope that the name of a node's first constant with a path begins with."""
    for name in node.inputs:
        if name in constants and "." in name.strip("."):
            return tuple(part for part in name.split(".")[:-1] if part)
    return None


def with_readers(
    nodes: Sequence[Node], found: Sequence[ScopePath | None], constants: Mapping[str, Any]
) -> list[ScopePath | None]:
    """Paths in which a node that reads constants alone is where its readers are, if it has none."""
    paths = [*found]
    readers: dict[str, list[int]] = {}
    for index, node in enumerate(nodes):
        for name in node.inputs:
            readers.setdefault(name, []).append(index)
    for index in reversed(range(len(nodes))):
        node = nodes[index]
        if paths[index] is None and all(name in constants for name in node.inputs if name):
            near = [paths[i] for name in node.outputs for i in readers.get(name, ())]
            told = [path for path in near if path is not None]
            paths[index] = reduce(common, told) if told else None
    return paths


def between(paths: Sequence[ScopePath | None]) -> list[ScopePath]:
    """Paths in which each that is missing is what those before and after it have in common."""
    after: list[ScopePath] = [()] * len(paths)
    nearest: ScopePath = ()
    for index in reversed(range(len(paths))):
        path = paths[index]
        nearest = nearest if path is None else path
        after[index] = nearest
    before: ScopePath = ()
    found = []
    for path, following in zip(paths, after, strict=True):
        before = before if path is None else path
        found.append(common(before, following) if path is None else path)
    return found


def common(a: ScopePath, b: ScopePath) -> ScopePath:
    """What two paths begin with."""
    same = (x == y for x, y in zip(a, b, strict=False))
    return a[: sum(takewhile(bool, same))]
