"""A decoder as two pure functions: a prompt's cache, and one token's logits and next cache.

Token i of each sequence lies in slot i of the cache, whatever else is in the batch. So all
sequences are at the same position in a step, and one number says which slots are filled. Where a
graph expects it (see `in_order`) the token that is read lies in the last slot, and goes to its own
before the next step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla import ir
from onnxla.generate.appending import BUFFER, SLOT, with_buffers
from onnxla.generate.branches import BRANCH, with_branch
from onnxla.generate.caches import Cache, find_caches, number
from onnxla.generate.hiding import FILLED, with_hidden_slots
from onnxla.generate.positions import LENGTH, PLACE, from_places
from onnxla.generate.tables import Exceeded, exceeded
from onnxla.interpret.program import Program
from onnxla.ir.names import listed, plain, quoted
from onnxla.ir.traverse import is_standard
from onnxla.ops.limits import TEMPORARY, Budget
from onnxla.ops.values import Value

# Names that exporters give, by what they mean.
IDS = ("input_ids", "decoder_input_ids", "tokens", "ids")
MASKS = ("attention_mask", "decoder_attention_mask")
POSITIONS = ("position_ids", "decoder_position_ids")
PLACES = ("cache_position",)
LOGITS = ("logits", "lm_logits")

Caches = dict[str, Value]
"""By the names of the pasts. One that grows along an axis is held as [all axes before it, slots,
...]: so products read it, and XLA writes in place into what it need not reshape."""


class Given(NamedTuple):
    """What a model is given in all steps.

    Attributes:
        params: The module's parameters.
        buffers: Its large constants.
        further: Inputs that a caller gives.
    """

    params: Mapping[str, Value]
    buffers: Mapping[str, Value]
    further: Mapping[str, Value]


@dataclass(frozen=True, eq=False)
class CachedModel:
    """A decoder's program, and what its ends mean.

    Attributes:
        program: The program, as its file has it.
        names: Outputs by the inputs whose next values they are, if their names do not say it.
    """

    program: Program
    names: Mapping[str, str] | None = None

    @cached_property
    def first(self) -> Program:
        """The program for a prompt's tokens."""
        return self.program.edited(model=with_branch(self.program.model, cached=False))

    @cached_property
    def then(self) -> Program:
        """The program for the tokens after."""
        return self.program.edited(model=with_branch(self.program.model, cached=True))

    @cached_property
    def caches(self) -> list[Cache]:
        """The tensors of the cache; for errors see `find_caches`."""
        found = find_caches(self.then, self.names, self.first)
        if all(cache.kind != "shared" or all(cache.sizes[2:][1:]) for cache in found):
            return found
        shapes = self.made_of_nothing(found)
        return [cache.with_sizes(shape) for cache, shape in zip(found, shapes, strict=True)]

    @cached_property
    def stepping(self) -> Program:
        """`then`, with a cache of fixed length."""
        growing = [c.node.outputs[0] for c in self.caches if c.node is not None]
        model = with_hidden_slots(with_buffers(self.then.model, self.caches), growing)
        if self.in_order:
            model = from_places(model, self.then.analysis)
        return self.then.edited(model=model, roll=False)

    @cached_property
    def in_order(self) -> bool:
        """Whether the token that is read lies in its own slot; otherwise in the last one.

        So it must be where a graph compares slots with positions. A graph that counts positions
        along its mask wants it in the last one, and what an operator adds to a past is there.
        """
        nodes = self.then.model.graph.nodes
        counts = not self.inputs.isdisjoint(self.masks) and any(
            is_standard(node, "CumSum") for node in nodes
        )
        joined = any(cache.kind == "joined" for cache in self.caches)
        places = not self.inputs.isdisjoint(POSITIONS) and not self.inputs.isdisjoint(self.masks)
        by_slot = not self.inputs.isdisjoint(PLACES) or not (counts or places)
        return by_slot and not joined

    @cached_property
    def has_states(self) -> bool:
        """Whether tokens cannot be read again, as a state keeps nothing of those before them."""
        return any(cache.kind == "state" for cache in self.caches)

    @cached_property
    def one_by_one(self) -> bool:
        """Whether the graph is for one token at a time."""
        kind = self.program.declared[self.ids].type
        shape = (kind.shape if isinstance(kind, ir.TensorType) else None) or (None,)
        return number(shape[-1]) == 1

    @cached_property
    def ids(self) -> str:
        """The input that takes tokens. Raises: ValueError if there is none."""
        return self.required(IDS, self.program.input_names, "input takes tokens")

    @cached_property
    def masks(self) -> tuple[str, ...]:
        """Inputs that mask its own tokens: with `decoder_input_ids`, `attention_mask` is not one.

        There it masks what the encoder has read, as in Hugging Face's models.
        """
        return tuple(
            name for name in MASKS if name != "attention_mask" or self.ids != "decoder_input_ids"
        )

    @cached_property
    def logits(self) -> str:
        """The output with logits. Raises: ValueError if there is none."""
        return self.required(LOGITS, self.program.output_names, "output has logits")

    def required(self, names: Sequence[str], known: Sequence[str], what: str) -> str:
        """The one of some names that there is."""
        if (found := next((name for name in names if name in known), None)) is None:
            raise ValueError(
                f"no {what}: none of [{listed(known, plain)}] is called {listed(names, quoted)}"
            )
        return found

    @cached_property
    def words(self) -> int | None:
        """How many tokens there are, if the file says it."""
        outputs = {value.name: value.type for value in self.program.model.graph.outputs}
        kind = outputs[self.logits]
        size = kind.shape[-1] if isinstance(kind, ir.TensorType) and kind.shape else None
        return size if isinstance(size, int) else None

    @cached_property
    def further(self) -> list[str]:
        """Inputs that a caller has to give."""
        own = {
            self.ids,
            *self.masks,
            *POSITIONS,
            *PLACES,
            BRANCH,
            *(cache.past for cache in self.caches),
        }
        return [name for name in self.program.input_names if name not in own]

    def ends(self, ids: Value, place: Value, mask: Value) -> dict[str, Value]:
        """Inputs of tokens [B, S], of which the first is at a place; the mask is [keys]."""
        batch, size = ids.shape
        at = place + jnp.arange(size, dtype=np.int64)
        values = {
            self.ids: ids,
            **dict.fromkeys(self.masks, jnp.broadcast_to(mask, (batch, len(mask)))),
            **dict.fromkeys(POSITIONS, jnp.broadcast_to(at, (batch, size))),
            **dict.fromkeys(PLACES, at),
        }
        return {k: self.fitting(k, v) for k, v in values.items() if k in self.inputs}

    def known_ends(self, batch: int, place: int) -> dict[str, np.ndarray]:
        """The numbers of `ends` for one token at a place, with nothing masked before it."""
        with jax.enable_x64(True), jax.ensure_compile_time_eval():
            ids, mask = np.zeros((batch, 1)), np.ones(place + 1, np.int64)
            ends = {k: np.asarray(v) for k, v in self.ends(ids, np.int64(place), mask).items()}
        return {**ends, BRANCH: np.array([place > 0])} if BRANCH in self.inputs else ends

    def beyond(self, given: Given, batch: int, place: int) -> Exceeded | None:
        """The table that a step at a place would read beyond its end, if there is one."""
        known = self.known_ends(batch, place)
        shapes = {
            cache.past: jax.ShapeDtypeStruct(cache.shape(batch, place), self.dtype(cache.past))
            for cache in self.caches
        }
        inputs = {**given.further, **shapes, self.ids: known.pop(self.ids)}
        with jax.enable_x64(True):
            return exceeded(self.then, self.constants(self.then, given), inputs, known)

    def made_of_nothing(self, caches: Sequence[Cache]) -> list[tuple[int, ...]]:
        """The shapes of the presents of one token, without a past."""
        declared, known = self.first.declared, self.known_ends(1, 0)
        inputs = {name: sized(declared[name].type, 1) for name in self.first.input_names}
        inputs |= {cache.past: sized(declared[cache.past].type, 1, cache.axis) for cache in caches}
        own = self.first.parameters
        constants = [
            {name: jax.ShapeDtypeStruct(each.shape, each.dtype) for name, each in tensors.items()}
            for tensors in (own.params, own.buffers)
        ]

        def made(params: Any, buffers: Any, inputs: Any) -> tuple[Value, ...]:
            outputs = [cache.present for cache in caches]
            return self.first.evaluate(params, {**inputs, **known}, buffers, outputs=outputs)

        with jax.enable_x64(True):
            presents = jax.eval_shape(made, *constants, inputs)
        return [present.shape for present in presents]

    def fitting(self, name: str, value: Value) -> Value:
        """A value in an input's element type. Raises: UnsupportedError if it has other axes."""
        kind = self.program.declared[name].type
        if isinstance(kind, ir.TensorType) and kind.shape and len(kind.shape) != value.ndim:
            raise ir.UnsupportedError(
                f"input {quoted(name)} has the shape [{listed(kind.shape, str)}], and text is"
                f" generated with one of {value.ndim} axes"
            )
        return value.astype(self.dtype(name))

    @cached_property
    def inputs(self) -> frozenset[str]:
        """Names of the inputs."""
        return frozenset(self.program.input_names)

    def dtype(self, name: str) -> np.dtype:
        """The element type of an input."""
        kind = self.program.declared[name].type
        if not isinstance(kind, ir.TensorType) or kind.dtype is None:
            raise ir.UnsupportedError(f"the file states no type of input {quoted(name)}")
        return kind.dtype

    def empty(self, batch: int, length: int) -> Caches:
        """A cache of zeros, as graphs have it."""
        return {
            cache.past: jnp.zeros(cache.shape(batch, length), self.dtype(cache.past))
            for cache in self.caches
        }

    def budget(self, given: Given, tokens: Value, length: int) -> Budget:
        """What may be made for tokens [B, S], with a cache of so many slots.

        Raises:
            ModelError: Such a cache would have too many bytes.
        """
        own = {*self.further, *(cache.past for cache in self.caches)}
        ends = [name for name in self.program.input_names if name not in own]
        budget = self.program.budget({**given.further, **dict.fromkeys(ends, tokens)})
        size = sum(
            math.prod(cache.held(len(tokens), length)) * self.dtype(cache.past).itemsize
            for cache in self.caches
        )
        budget.check(size / TEMPORARY, f"a third of the cache of {length:,} tokens")
        return replace(budget, given=budget.given + size)

    def nothing(self, batch: int, length: int) -> Caches:
        """The cache before the first token, as it is held."""
        return {
            cache.past: np.zeros(cache.held(batch, length), self.dtype(cache.past))
            for cache in self.caches
        }

    def constants(self, program: Program, given: Given) -> list[dict[str, Value]]:
        """The parameters and large constants of one of the programs.

        What looks like one in a branch alone has the file's value.
        """
        constants = {**given.params, **given.buffers}
        values = {tensor: constants[name] for tensor, name in self.program.names.items()}
        own = program.parameters
        return [
            {
                name: values[tensor] if tensor in values else tensor.numpy()
                for name, tensor in tensors.items()
            }
            for tensors in (own.params, own.buffers)
        ]

    def evaluate(
        self, program: Program, given: Given, inputs: Mapping[str, Value], outputs: Sequence[str]
    ) -> tuple[Value, ...]:
        """Outputs of one of the programs, which may call the model's constants otherwise."""
        params, buffers = self.constants(program, given)
        inputs = {**given.further, **inputs}
        if BRANCH in self.inputs:
            inputs[BRANCH] = np.array([program is not self.first])
        return program.evaluate(params, inputs, buffers, outputs=outputs)

    def prompt(self, given: Given, ids: Value, place: Value, length: int) -> Caches:
        """The cache, of so many slots, of tokens [B, S], for a step that reads that at a place."""
        batch, size = ids.shape
        ends = self.ends(ids, np.int64(0), jnp.ones(size, np.int64))
        presents = [cache.present for cache in self.caches]
        values = self.evaluate(self.first, given, {**ends, **self.empty(batch, 0)}, presents)
        return {
            cache.past: filled_up(value, cache, length, place)
            for cache, value in zip(self.caches, values, strict=True)
        }

    def step(self, given: Given, ids: Value, place: Value, caches: Caches) -> tuple[Value, Caches]:
        """Logits [B, V] after tokens [B, 1] at a place, and the cache with them."""
        batch = len(ids)
        held: dict[str, Any] = {c.past: caches[c.past] for c in self.caches if c.axis is not None}
        length = next(iter(held.values())).shape[1] if held else 1
        slot = place if self.in_order else length - 1
        slots = np.arange(length)
        filled = (slots < place) | (slots == slot)
        inputs = {**self.ends(ids, place, filled.astype(np.int64)), **caches}
        inputs |= {PLACE: place, SLOT: slot, LENGTH: np.int64(length - 1), FILLED: filled}
        for cache in self.caches:
            if cache.axis is None:
                continue
            buffer = held[cache.past]
            if cache.kind == "shared":
                inputs[cache.past] = buffer.reshape(cache.shape(batch, length))
            else:
                if not self.in_order:
                    last = buffer[:, -1:]
                    buffer = lax.dynamic_update_slice_in_dim(buffer, last, place - 1, 1)
                inputs[BUFFER + cache.past] = buffer
                inputs[cache.past] = buffer[:, :-1].reshape(cache.shape(batch, length - 1))
        changing = [cache for cache in self.caches if cache.kind != "constant"]
        outputs = [self.logits, *(cache.present for cache in changing)]
        logits, *values = self.evaluate(self.stepping, given, inputs, outputs)
        new = {
            cache.past: value.reshape(caches[cache.past].shape)
            for cache, value in zip(changing, values, strict=True)
        }
        return logits[:, -1], {**caches, **new}

    def rows(self, caches: Caches, source: Value) -> Caches:
        """The cache of other rows of a batch, or of some of them several times."""
        found = {}
        for cache in self.caches:
            held = caches[cache.past]
            shape = [*held.shape]
            if cache.axis is not None:
                shape[:1] = cache.shape(len(source), 0)[: cache.axis]
            rows = jnp.take(held.reshape(shape), source, axis=cache.batch)
            found[cache.past] = rows.reshape(held.shape)
        return found


def sized(kind: Any, size: int, none: int | None = None) -> jax.ShapeDtypeStruct:
    """A value of a type whose open axes have a size, but for one that has nothing."""
    shape = [n if isinstance(n, int) else size for n in kind.shape]
    if none is not None:
        shape[none] = 0
    return jax.ShapeDtypeStruct(shape, kind.dtype)


def filled_up(value: Value, cache: Cache, length: int, place: Value) -> Any:
    """A prompt's cache as it is held: zeros after it, and in the last slot the token before."""
    if cache.axis is None:
        return value
    flat = value.reshape(-1, *value.shape[cache.axis :])
    missing = [(0, 0), (0, length - flat.shape[1])] + [(0, 0)] * (flat.ndim - 2)
    before = lax.dynamic_slice_in_dim(flat, place - 1, 1, 1)
    filled = jnp.pad(flat, missing)
    if cache.kind == "shared":
        return filled
    return lax.dynamic_update_slice_in_dim(filled, before, length - 1, 1)
