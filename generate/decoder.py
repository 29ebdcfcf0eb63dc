"""`Decoder`: a module that makes text, with a cache whose shape stays while it grows."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla import ir
from onnxla.generate.caches import find_caches
from onnxla.generate.model import CachedModel, Caches
from onnxla.inputs import checked
from onnxla.ir.names import listed, plain, quoted
from onnxla.module import Module
from onnxla.ops.values import Value
from onnxla.progress import ProgressBar

BUCKET = 128  # tokens that a cache is longer by, if it has to be longer
SHORTEST = 8  # of the lengths that prompts are filled up to
SHOWN = 16  # tokens after which a progress bar moves
TOLERANCE = 0.02  # of what a step and a prompt make of the same token, by the largest value


class State(NamedTuple):
    """What a step reads and changes.

    Attributes:
        place: The position of the token that the next step reads.
        tokens: The prompts, and what has been made, [B, length + 1].
        done: Whether a sequence is at its end, [B].
        caches: The cache.
    """

    place: Value
    tokens: Value
    done: Value
    caches: Caches


class Decoder:
    """A module whose cache has a fixed shape: compiled once for prompts, and once for a step.

    Args:
        module: The decoder: its inputs are tokens, their mask and positions where it has such, and
            the past; its outputs logits and the present.
        caches: Outputs by the inputs whose next values they are, where their names do not say it.
        length: Tokens that the cache has room for. By default, what a call needs, rounded up to a
            multiple of 128; a call for another multiple compiles the step again.

    Raises:
        ValueError: The module has no cache, tokens or logits by these names.
        UnsupportedError: The file does not state shapes and types of the cache.
    """

    def __init__(
        self, module: Module, *, caches: Mapping[str, str] | None = None, length: int | None = None
    ) -> None:
        self.module, self.length = module, length
        self.model = CachedModel(module.program, find_caches(module.program, caches))
        self.names = self.model.ids, self.model.logits
        self._begin = jax.jit(self.begin, static_argnames="length")
        self._advance = jax.jit(self.advance, donate_argnames="state")
        self._agrees: set[Any] = set()  # shapes for which a step and a prompt have been compared

    def generate(
        self,
        ids: Any,
        attention_mask: Any = None,
        *,
        max_new_tokens: int = 20,
        eos: int | Sequence[int] = (),
        pad: int | None = None,
        inputs: Mapping[str, Value] | None = None,
        progress: bool = False,
    ) -> np.ndarray:
        """The tokens that follow each prompt, [B, at most max_new_tokens].

        Args:
            ids: Prompts [B, S], or one prompt [S].
            attention_mask: 0 where `ids` has padding, on whichever side.
            max_new_tokens: How many tokens at most are made.
            eos: Tokens that end a sequence; they are returned, too.
            pad: What follows the end of a sequence; by default the first of `eos`, or 0.
            inputs: Further inputs of the model by name, such as an encoder's hidden states.
            progress: Whether to show a progress bar.

        Raises:
            TypeError, ValueError: Arguments do not fit the model or each other.
            UnsupportedError: The graph does not honour its attention mask and positions.
        """
        run = Run(self, ids, attention_mask, max_new_tokens, eos, pad, inputs)
        with ProgressBar(run.total, "generating", "token", shown=progress) as bar:
            for _ in run.steps(SHOWN if progress else run.total):
                bar.advance(run.advanced)
        return run.made()

    def stream(self, ids: Any, attention_mask: Any = None, **options: Any) -> Iterator[np.ndarray]:
        """The tokens [B] that `generate` makes, one position after the other as they are made."""
        given: dict[str, Any] = {"max_new_tokens": 20, "eos": (), "pad": None, "inputs": None}
        run = Run(self, ids, attention_mask, **{**given, **options})
        shown = 0
        for _ in run.steps(1):
            while shown < run.complete:
                yield run.column(shown)
                shown += 1

    def begin(
        self, params: Any, buffers: Any, further: Any, ids: Value, state: State, length: int
    ) -> State:
        """A state with the cache of the prompts' first tokens [B, S]."""
        caches = self.model.prompt(params, buffers, further, ids, state.place, length)
        return state._replace(caches=caches)

    def advance(
        self,
        params: Any,
        buffers: Any,
        further: Any,
        lengths: Value,
        limit: Value,
        eos: Value,
        state: State,
        end: Value,
    ) -> State:
        """The state at `end`, or where all sequences have ended.

        Args:
            params: The module's parameters.
            buffers: Its large constants.
            further: Inputs that stay.
            lengths: Tokens of each prompt [B].
            limit: How many are made after each.
            eos: Tokens that end a sequence.
            state: Where it begins.
            end: The position up to which tokens are read.
        """

        def step(state: State) -> State:
            place, tokens = state.place, state.tokens
            read = lax.dynamic_slice_in_dim(tokens, place, 1, 1)
            logits, caches = self.model.step(
                params, buffers, further, read, place, state.caches
            )
            chosen = logits.argmax(-1).astype(tokens.dtype)
            given = lax.dynamic_slice_in_dim(tokens, place + 1, 1, 1)[:, 0]
            makes = (place + 1 >= lengths) & ~state.done
            new = jnp.where(makes, chosen, given)
            tokens = lax.dynamic_update_slice_in_dim(tokens, new[:, None], place + 1, 1)
            ends = jnp.isin(chosen, eos) | (place + 2 >= lengths + limit)
            return State(place + 1, tokens, state.done | (makes & ends), caches)

        return lax.while_loop(lambda s: (s.place < end) & ~s.done.all(), step, state)


class Run:
    """One call of `generate` or `stream`: its arguments as arrays, and the state so far."""

    def __init__(
        self,
        decoder: Decoder,
        ids: Any,
        attention_mask: Any,
        max_new_tokens: int,
        eos: int | Sequence[int],
        pad: int | None,
        inputs: Mapping[str, Value] | None,
    ) -> None:
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is at least 1, not {max_new_tokens}")
        self.decoder, model = decoder, decoder.model
        self.limit = max_new_tokens
        self.eos = np.atleast_1d(np.asarray(eos, np.int64))
        self.pad = pad if pad is not None else int(self.eos[0]) if len(self.eos) else 0
        rows = as_prompts(ids, attention_mask)
        self.lengths = np.array([len(row) for row in rows])
        self.total = int(self.lengths.max()) - int(self.lengths.min()) + self.limit
        needed = int(self.lengths.max()) + self.limit - 1
        self.length = decoder.length or -(-needed // BUCKET) * BUCKET
        if needed > self.length:
            raise ValueError(
                f"prompts of up to {self.lengths.max()} tokens and max_new_tokens={self.limit} need"
                f" a cache of {needed}, and length={self.length}"
            )
        self.tokens = np.full((len(rows), self.length + 1), self.pad, model.dtype(model.ids))
        for row, out in zip(rows, self.tokens, strict=True):
            out[: len(row)] = row
        self.further = self.checked(inputs or {})
        self.advanced = 0
        self.place = int(self.lengths.min()) - 1

    def checked(self, inputs: Mapping[str, Value]) -> dict[str, Value]:
        """Further inputs in the model's types. Raises: TypeError, ValueError if they do not fit."""
        model = self.decoder.model
        if missing := [name for name in model.further if name not in inputs]:
            raise TypeError(
                f"the model has further inputs [{listed(missing, plain)}]: give them as "
                f"inputs={{{quoted(missing[0])}: ...}}"
            )
        if wrong := [name for name in inputs if name not in model.further]:
            raise TypeError(f"inputs [{listed(wrong, plain)}] are none that a caller gives")
        return checked(model.program, inputs)

    def steps(self, at_once: int) -> Iterator[None]:
        """Makes all tokens, so many positions at once."""
        decoder, module = self.decoder, self.decoder.module
        fixed = module.params, module.program.buffers, self.further
        settings = self.lengths, np.int64(self.limit), self.eos
        end = int(self.lengths.max()) + self.limit - 1
        with jax.enable_x64(True), module.program.explaining_errors():
            state = self.begun(fixed)
            advance = functools.partial(decoder._advance, *fixed, *settings)
            state = self.compared(advance, state)
            yield from self.noted(state)
            while self.place < end and not self.ended:
                upto = min(self.place + at_once, end)
                state = advance(state, np.int64(upto))
                yield from self.noted(state)

    def begun(self, fixed: tuple[Any, ...]) -> State:
        """The state after the prompts' first tokens, as many as the shortest has."""
        shortest = int(self.lengths.min())
        size = max(SHORTEST, 1 << (shortest - 1).bit_length())
        size = min(size, self.length)
        # What fills it up is like the last token, in case a graph's numbers depend on the largest.
        at = np.minimum(np.arange(size), shortest - 1)
        done = np.zeros(len(self.lengths), np.bool_)
        state = State(np.int64(self.place), self.tokens, done, {})
        return self.decoder._begin(*fixed, self.tokens[:, at], state, length=self.length)

    def compared(self, advance: Any, state: State) -> State:
        """The state a step later, which reads the last token that the cache was made of.

        Raises:
            UnsupportedError: It made something else of it.
        """
        decoder, place = self.decoder, self.place
        if new := (key := (self.length, len(self.lengths))) not in decoder._agrees:
            before = slots(decoder.model, state, place, shared=place)
        state = advance(state, np.int64(place + 1))
        if new:
            compare(before, slots(decoder.model, state, self.length - 1, shared=place))
            decoder._agrees.add(key)
        return state

    def noted(self, state: State) -> Iterator[None]:
        """Once what a state has made is known here."""
        self.tokens, done = np.asarray(state.tokens), np.asarray(state.done)
        place, self.ended = int(state.place), bool(done.all())
        self.advanced, self.place = place - self.place, place
        yield

    @property
    def complete(self) -> int:
        """How many tokens have been made after every prompt."""
        return max(0, self.place + 1 - int(self.lengths.max()))

    def column(self, index: int) -> np.ndarray:
        """The tokens [B] that are so many after each prompt's end."""
        return self.tokens[np.arange(len(self.lengths)), self.lengths + index]

    def made(self) -> np.ndarray:
        """All tokens after the prompts."""
        columns = [self.column(index) for index in range(self.complete)]
        return np.stack(columns, 1)


def as_prompts(ids: Any, attention_mask: Any) -> list[np.ndarray]:
    """The tokens of each prompt, without padding. Raises: TypeError, ValueError if they are none."""
    ids = np.asarray(ids)
    if not np.issubdtype(ids.dtype, np.integer):
        raise TypeError(f"ids are integers, not {ids.dtype}")
    ids = ids[None] if ids.ndim == 1 else ids
    mask = np.ones(ids.shape) if attention_mask is None else np.asarray(attention_mask)
    mask = mask[None] if mask.ndim == 1 else mask
    if ids.ndim != 2 or mask.shape != ids.shape:
        raise ValueError(
            f"ids are [B, S] or [S] and attention_mask as they are, not {list(ids.shape)} and "
            f"{list(mask.shape)}"
        )
    rows = [row[kept != 0] for row, kept in zip(ids, mask, strict=True)]
    if empty := [i for i, row in enumerate(rows) if not len(row)]:
        raise ValueError(f"prompt {empty[0]} has no tokens")
    if not rows:
        raise ValueError("there are no prompts")
    return rows


def slots(model: CachedModel, state: State, slot: int, shared: int) -> dict[str, np.ndarray]:
    """What each tensor of the cache that grows has in a slot, a shared one in another."""
    growing = [cache for cache in model.caches if cache.axis is not None]
    at = {cache.past: shared if cache.kind == "shared" else slot for cache in growing}
    return {
        cache.past: np.take(np.asarray(state.caches[cache.past]), at[cache.past], cache.axis)
        for cache in growing
    }


def compare(prompt: Mapping[str, np.ndarray], step: Mapping[str, np.ndarray]) -> None:
    """Raises UnsupportedError if a step made something else of a token than a prompt's pass."""
    for name, expected in prompt.items():
        wide = np.result_type(expected.dtype, np.float32)
        expected, got = expected.astype(wide), step[name].astype(wide)
        largest = float(np.abs(expected).max())
        difference = float(np.abs(got - expected).max())
        if not difference <= TOLERANCE * largest:
            raise ir.UnsupportedError(
                f"the graph does not keep to its attention mask and positions: with a cache of a"
                f" fixed length it makes another {quoted(name)} of the same token (by"
                f" {difference:.3g}, where the largest value is {largest:.3g}), as if positions or"
                " masks came from the length of the past. Export it with inputs attention_mask and"
                " position_ids that it reads"
            )
