"""`Decoder`: a module that makes text, with a cache whose shape stays while it grows."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from onnxla import ir
from onnxla.arguments import GENERATE_ELSEWHERE, called_here, check_arguments
from onnxla.generate.agreement import compare, slots
from onnxla.generate.arguments import DECODER, GENERATE
from onnxla.generate.beams import first_scores
from onnxla.generate.loop import Fixed, Sequences, Stepper
from onnxla.generate.model import CachedModel, Given
from onnxla.generate.prompts import Prompts, as_prompts
from onnxla.generate.sampling import sampling
from onnxla.generate.tables import Exceeded
from onnxla.inputs import checked
from onnxla.ir.names import listed, plain, quoted
from onnxla.module import Module, require_module
from onnxla.ops.values import Value
from onnxla.progress import ProgressBar

BUCKET = 128  # a cache's length is a multiple of it, if nobody says otherwise
SHORTEST = 8  # of the lengths that prompts are filled up to, the powers of 2 from it on
SHOWN = 16  # tokens after which a progress bar moves


class Decoder:
    """A module whose cache has a fixed shape: compiled once for prompts, and once for steps.

    For example:

        decoder = onnxla.generate.Decoder(onnxla.load("decoder.onnx"), length=128)
        tokens = decoder.generate([5, 17, 3], max_new_tokens=8)

    Attributes:
        module: The module.
        model: What its inputs and outputs mean.
        caches: The tensors of its cache.
        ends: The names of its tokens and its logits.
        length: Tokens that the cache has room for; None: as a call needs.
        stepper: What is compiled.
    """

    def __init__(
        self, module: Module, *, caches: Mapping[str, str] | None = None, length: int | None = None
    ) -> None:
        """A decoder.

        Args:
            module: Its inputs are tokens, their mask and positions where it has such, and the past;
                its outputs logits and the present. What else it takes, a call has to give.
            caches: Outputs by the inputs whose next values they are, if their names do not say it.
            length: Tokens that the cache has room for. By default what a call needs, rounded up to
                a multiple of 128; a call that needs another multiple compiles steps again.

        Raises:
            ValueError: The module has no cache, tokens or logits by names that exporters give.
            UnsupportedError: The file does not state shapes and types of the cache.
        """
        check_arguments(locals(), DECODER)
        require_module(module)
        self.module, self.length = module.inference(), length
        self.model = CachedModel(self.module.program, caches)
        self.caches, self.ends = self.model.caches, (self.model.ids, self.model.logits)
        self.stepper = Stepper(self.model)
        self.compared: set[tuple[int, int]] = set()  # batches and lengths of which that was done
        self.reached: dict[int, int] = {}  # cache lengths that tables suffice for, by those asked

    @called_here(GENERATE_ELSEWHERE)
    def generate(
        self,
        ids: Any,
        attention_mask: Any = None,
        *,
        max_new_tokens: int = 20,
        eos: int | Sequence[int] = (),
        pad: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        repetition_penalty: float | None = None,
        key: jax.Array | None = None,
        beams: int | None = None,
        inputs: Mapping[str, Value] | None = None,
        params: Mapping[str, Value] | None = None,
        stream: bool = False,
        progress: bool = True,
    ) -> Any:
        """The tokens that follow each prompt, as a numpy array [B, at most max_new_tokens].

        The likeliest token is chosen, unless one of temperature, top_k and top_p is given: then one
        is drawn.

        For example:

            decoder = onnxla.generate.Decoder(onnxla.load("decoder.onnx"))
            tokens = decoder.generate([[5, 17, 3], [9, 4, 1]], max_new_tokens=8, eos=2)

        Args:
            ids: Prompts [B, S], or one prompt [S].
            attention_mask: 0 where `ids` has padding, on whichever side.
            max_new_tokens: How many tokens at most are made.
            eos: Token or tokens that end a sequence; the one that did is returned, too.
            pad: What follows the end of a sequence; by default the first of `eos`, or 0.
            temperature: What logits are divided by; 0: the likeliest token is chosen after all.
            top_k: How many of the likeliest tokens may be drawn.
            top_p: The likeliest tokens may be drawn that together have so much probability.
            repetition_penalty: What logits of tokens that were there before are divided by, or
                multiplied where they are negative.
            key: JAX key that tokens are drawn with.
            beams: How many texts are kept in each step, those that are likeliest so far, of which
                the likeliest one is returned at the end.
            inputs: Further inputs of the model by name, such as an encoder's hidden states.
            params: Other values of the module's parameters.
            stream: Whether an iterator is returned instead, of the tokens [B] that follow, one
                position after the other as they are made.
            progress: Whether to show a progress bar, if there is no stream.

        Raises:
            TypeError, ValueError: Arguments do not fit the model or each other.
            UnsupportedError: The graph does not keep to its mask and positions.
        """
        check_arguments(locals(), GENERATE)
        how = sampling(temperature, top_k, top_p, repetition_penalty)
        if how.draws and key is None:
            raise ValueError("tokens are drawn with a key: give one, as key=jax.random.key(0)")
        if key is not None and temperature is None and not how.draws:
            raise ValueError("nothing is drawn with the key: give temperature=1.0, top_k or top_p")
        if beams is not None and (how.draws or stream):
            raise ValueError(f"beams={beams} goes with no stream, temperature, top_k or top_p")
        ends = np.atleast_1d(np.asarray(eos, np.int64))
        self.check_vocabulary(ends, top_k)
        prompts = as_prompts(ids, attention_mask, self.model.words)
        further = self.further(inputs or {})
        if beams is not None:
            further = {name: self.repeated(name, value, beams) for name, value in further.items()}
            prompts = Prompts([row for row in prompts.rows for _ in range(beams)])
        module = self.module if params is None else self.module.replace(params)
        filler = pad if pad is not None else int(ends[0]) if len(ends) else 0
        fixed = Fixed(
            Given(module.params, module.program.buffers, further),
            prompts.lengths,
            np.int64(max_new_tokens),
            ends,
            np.int64(filler),
            how,
            key if how.draws else None,
        )
        run = Generation(self, prompts, fixed, max_new_tokens, beams)
        if stream:
            return run.stream()
        with ProgressBar(run.total, "generating", "token", shown=progress) as bar:
            for count in run.steps(SHOWN if progress else run.total):
                bar.advance(count)
        return run.made()

    def check_vocabulary(self, ends: np.ndarray, top_k: int | None) -> None:
        """Raises ValueError if there are no such tokens, where the file says how many there are."""
        words = self.model.words
        if wrong := [n for n in ends.tolist() if n < 0 or (words is not None and n >= words)]:
            of = "" if words is None else f" of {words}"
            raise ValueError(f"eos has {wrong[0]}, which is no token{of}")
        if words is not None and top_k is not None and top_k > words:
            raise ValueError(f"top_k={top_k} of {words} tokens: leave it out to draw any of them")

    def further(self, inputs: Mapping[str, Value]) -> dict[str, Value]:
        """Further inputs in the model's types. Raises: TypeError, ValueError if they do not fit."""
        wanted = self.model.further
        if missing := [name for name in wanted if name not in inputs]:
            raise TypeError(
                f"the model has further inputs [{listed(missing, plain)}]: give them as "
                f"inputs={{{quoted(missing[0])}: ...}}"
            )
        if wrong := [name for name in inputs if name not in wanted]:
            raise TypeError(f"inputs [{listed(wrong, plain)}] are none that a caller has to give")
        return checked(self.model.program, inputs)

    def repeated(self, name: str, value: Value, times: int) -> Value:
        """A further input for so many beams of each prompt, if it has an axis of these."""
        kind = self.model.program.declared[name].type
        counts = isinstance(kind, ir.TensorType) and kind.shape and isinstance(kind.shape[0], str)
        return np.repeat(np.asarray(value), times, 0) if counts else value


class Generation:
    """One call of a decoder.

    Attributes:
        total: How many positions are read one by one.
        place: The position that is read next.
        tokens: The prompts and what has been made, as far as is known here.
        budget: What may be made for them.
    """

    def __init__(
        self, decoder: Decoder, prompts: Prompts, fixed: Fixed, limit: int, beams: int | None
    ) -> None:
        self.decoder, self.fixed, self.beams = decoder, fixed, beams
        self.scores = None if beams is None else first_scores(len(prompts.rows) // beams, beams)
        self.lengths = prompts.lengths
        self.shortest, self.longest = int(self.lengths.min()), int(self.lengths.max())
        needed = self.longest + limit - 1
        self.length = decoder.length or -(-needed // BUCKET) * BUCKET
        if needed > self.length:
            raise ValueError(
                f"prompts of {self.longest} tokens and max_new_tokens={limit} need a cache of"
                f" length={needed}, and this decoder has {self.length}"
            )
        self.length = self.within_tables(needed, limit)
        model = decoder.model
        self.tokens = prompts.filled(self.length + 1, int(fixed.pad), model.dtype(model.ids))
        self.budget = model.budget(fixed.given, self.tokens, self.length)
        # Of a token in the last slot a prompt's pass keeps nothing to compare a step with.
        self.place, self.end = min(self.shortest - 1, max(self.length - 2, 0)), needed
        if model.has_states:  # as many tokens at once as are compiled for few lengths
            self.place = 0 if model.one_by_one else 1 << self.place.bit_length() >> 1
        self.total = self.end - self.place

    def within_tables(self, needed: int, limit: int) -> int:
        """The cache's length, or less where tables that positions are looked up in end before.

        Raises:
            ValueError: They end before all tokens are made.
        """
        decoder, batch = self.decoder, len(self.lengths)

        def ends(length: int) -> Exceeded | None:
            return decoder.model.beyond(self.fixed.given, batch, length - 1)

        if self.length not in decoder.reached:
            suffices = range(1, self.length + 1)
            found = bisect(suffices, False, key=lambda length: ends(length) is not None)
            decoder.reached[self.length] = self.length if ends(self.length) is None else found
        if (reached := decoder.reached[self.length]) < needed:
            most = reached - self.longest + 1
            raise ValueError(
                f"prompts of {self.longest} tokens and max_new_tokens={limit} read positions"
                f" up to {needed - 1}, and {ends(needed)}: "
                + (f"at most {most} new tokens" if most > 0 else "they are too long for it")
            )
        return reached

    def steps(self, at_once: int) -> Iterator[int]:
        """Makes all tokens; yields after so many positions at once how many they were."""
        state, ended = self.begun(), False
        while self.place < self.end and not ended:
            start, self.place = self.place, min(self.place + at_once, self.end)
            state = self.advanced(state, self.place)
            self.tokens, ended = np.asarray(state.tokens), bool(np.asarray(state.done).all())
            self.place, self.scores = int(state.place), state.scores
            yield self.place - start

    def begun(self) -> Sequences:
        """The sequences after tokens that all prompts have, the last of which is to be read again.

        States of a fixed shape keep nothing of the token before: there it is not read again, and
        there must be nothing after the tokens.

        Raises:
            UnsupportedError: A step makes something else of that token.
        """
        decoder, batch = self.decoder, len(self.lengths)
        size = min(max(SHORTEST, 1 << (self.shortest - 1).bit_length()), self.length)
        if decoder.model.has_states:
            size = self.place
        # What fills it up is like the last token, in case all tokens decide on a scale.
        ids = self.tokens[:, np.minimum(np.arange(max(size, 1)), self.shortest - 1)]
        checked(decoder.model.program, {decoder.model.ids: ids})
        place, done = np.int64(self.place), np.zeros(batch, np.bool_)
        with jax.enable_x64(True), decoder.model.program.explaining_errors():
            if size:
                caches = decoder.stepper.begin(self.budget, self.fixed, ids, place, self.length)
            else:
                caches = decoder.model.nothing(batch, self.length)
            sequences = Sequences(*jax.device_put((place, self.tokens, done, caches, self.scores)))
        if not decoder.model.has_states and (batch, self.length) not in decoder.compared:
            before = slots(decoder.model, caches, self.place)
            sequences = self.advanced(sequences, self.place + 1)
            slot = self.place if decoder.model.in_order else self.length - 1
            after = slots(decoder.model, sequences.caches, slot, self.place)
            compare(decoder.model, before, after)
            decoder.compared.add((batch, self.length))
        return sequences

    def advanced(self, state: Sequences, end: int) -> Sequences:
        """The state before a position is read."""
        decoder = self.decoder
        with jax.enable_x64(True), decoder.model.program.explaining_errors():
            beams = self.beams or 0
            return decoder.stepper.advance(self.budget, self.fixed, state, np.int64(end), beams)

    def stream(self) -> Iterator[np.ndarray]:
        """The tokens that `made` returns, position by position."""
        shown = 0
        for _ in self.steps(1):
            for index in range(shown, self.complete):
                yield self.column(index)
            shown = max(shown, self.complete)
        yield from self.made().T[shown:]  # where the longest prompt's text has ended before

    @property
    def complete(self) -> int:
        """How many tokens have been made after every prompt."""
        return max(0, self.place + 1 - self.longest)

    def column(self, index: int) -> np.ndarray:
        """The tokens [B] that are so many after each prompt's end."""
        column: np.ndarray = self.tokens[np.arange(len(self.lengths)), self.lengths + index]
        return column

    def made(self) -> np.ndarray:
        """All tokens after the prompts, of the best beam of each, up to the last one's end."""
        columns = min(int(self.fixed.limit), self.place + 1 - self.shortest)
        made = np.stack([self.column(index) for index in range(columns)], 1)
        if self.beams is not None:
            best = np.asarray(self.scores).reshape(-1, self.beams).argmax(1)
            made = made[np.arange(len(best)) * self.beams + best]
        ends = np.isin(made, self.fixed.eos)
        lengths = np.where(ends.any(1), ends.argmax(1) + 1, columns)
        made = made[:, : lengths.max()]
        return made
