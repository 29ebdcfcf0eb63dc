"""Dropout for a model that has none: exporters leave it out of files made for inference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from onnxla import ir
from onnxla.ir.rewrite import need_opset, rewrite
from onnxla.parameters.selection import matching

INSERTED = "onnxla.dropout"  # metadata of nodes: the name of the value that they drop


def insert_dropout(model: ir.Model, patterns: Sequence[str], ratio: float) -> ir.Model:
    """The model with a Dropout after some values; see `Module.insert_dropout`."""
    opset = need_opset(model, 1, "Dropout")
    made = [name for node in model.graph.nodes for name in node.outputs if name]
    chosen: set[str] = set()
    for pattern in patterns:
        chosen |= {*matching(pattern, made, "value that a node makes")}

    def dropout(name: str) -> Iterator[ir.Node]:
        before, node_name, metadata = f"{name}.before_dropout", f"{name}.dropout", {INSERTED: name}
        if opset < 12:
            attributes: dict[str, ir.Attribute] = {"ratio": ratio}
            if opset < 7:
                attributes["is_test"] = 1
            yield ir.Node("Dropout", (before,), (name,), attributes, node_name, metadata=metadata)
        else:
            share, stated = f"{name}.dropout_ratio", {"value_float": ratio}
            yield ir.Node("Constant", (), (share,), stated, share, metadata=metadata)
            yield ir.Node("Dropout", (before, share), (name,), {}, node_name, metadata=metadata)

    def node(old: ir.Node) -> Iterator[ir.Node]:
        # The value keeps its name after the Dropout, so that all that read it stay as they are.
        outputs = tuple(
            f"{name}.before_dropout" if name in chosen and old in top else name
            for name in old.outputs
        )
        yield old if outputs == old.outputs else replace(old, outputs=outputs)
        for name in chosen.intersection(old.outputs) if old in top else ():
            yield from dropout(name)

    top = set(model.graph.nodes)
    return rewrite(model, node=node)


def strip_dropout(model: ir.Model) -> ir.Model:
    """The model without what `insert_dropout` put in: as it was before."""
    marked = {node.metadata[INSERTED] for node in model.graph.nodes if INSERTED in node.metadata}
    names = {f"{name}.before_dropout": name for name in marked}

    def node(old: ir.Node) -> list[ir.Node]:
        if INSERTED in old.metadata:
            return []
        if names.keys().isdisjoint(old.outputs):
            return [old]
        return [replace(old, outputs=tuple(names.get(name, name) for name in old.outputs))]

    return rewrite(model, node=node) if marked else model
