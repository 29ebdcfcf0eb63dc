"""Small models of control flow, sequences and optionals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx

HEAD = '<ir_version: 8, opset_import: ["": %d]> '
X = np.asarray([[1.0, -2.0, 3.0], [0.5, 1.5, -1.0]], np.float32)


def line(*shape: int) -> np.ndarray:
    """Numbers from -1 to 1."""
    return np.linspace(-1, 1, math.prod(shape), dtype=np.float32).reshape(shape)


# A name, the opset, a model, its inputs, and those by which to differentiate the outputs.
MODELS: list[tuple[str, int, str, tuple[Any, ...], tuple[int, ...]]] = [
    (
        "if traced",
        11,
        """if (float[N, 3] x) => (float[N, 3] y, int64[2] s) {
            total = ReduceSum <keepdims = 0> (x)
            zero = Constant <value = float {0}> ()
            c = Greater (total, zero)
            y, s = If (c) <
                then_branch = then () => (float[N, 3] a, int64[2] s1) {
                    a = Exp (x)
                    s1 = Shape (x)
                },
                else_branch = else () => (float[N, 3] b, int64[2] s2) {
                    b = Sin (x)
                    s2 = Shape (x)
                }
            >
        }""",
        (X,),
        (0,),
    ),
    (
        "if of a shape",
        13,
        """if (float[N, 3] x) => (float[N, M] y) {
            n = Size (x)
            seven = Constant <value_int = 7> ()
            c = Less (n, seven)
            y = If (c) <
                then_branch = then () => (float[N, 3] a) { a = Exp (x) },
                else_branch = else () => (float[1, M] b) {
                    flat = Constant <value_ints = [1, -1]> ()
                    b = Reshape (x, flat)
                }
            >
        }""",
        (X,),
        (0,),
    ),
    (
        "loop as a scan",
        13,
        """loop (float[N, 3] x) => (float[N, 3] y, float[T, N, 3] ys) {
            m = Constant <value = int64 {4}> ()
            c = Constant <value = bool {1}> ()
            y, ys = Loop (m, c, x) <
                body = body (int64 i, bool c_in, float[N, 3] a)
                    => (bool c_out, float[N, 3] b, float[N, 3] e) {
                    c_out = Identity (c_in)
                    e = Sin (a)
                    b = Add (a, e)
                }
            >
        }""",
        (X,),
        (0,),
    ),
    (
        "loop whose state grows",
        13,
        """loop (float[N, 3] x) => (float[M, 3] y) {
            m = Constant <value_int = 2> ()
            y = Loop (m, , x) <
                body = body (int64 i, bool c_in, float[P, 3] a) => (bool c_in, float[Q, 3] b) {
                    s = Mul (a, a)
                    b = Concat <axis = 0> (a, s)
                }
            >
        }""",
        (X,),
        (0,),
    ),
    (
        "loop over slices of different sizes",
        13,
        """loop (float[6] x) => (float[3] ys) {
            m = Constant <value_int = 3> ()
            one = Constant <value_ints = [1]> ()
            zero = Constant <value_ints = [0]> ()
            no_state = SequenceEmpty <dtype = 1> ()
            _, ys = Loop (m, , no_state) <
                body = body (int64 i, bool c_in, seq(float) s)
                    => (bool c_in, seq(float) s, float y) {
                    start = Reshape (i, one)
                    end = Add (start, start)
                    stop = Add (end, one)
                    part = Slice (x, start, stop, zero)
                    y = ReduceSum <keepdims = 0> (part)
                }
            >
        }""",
        (X.ravel(),),
        (0,),
    ),
    (
        "loop that ends early",
        13,
        """loop (float[N, 3] x) => (float[N, 3] y) {
            m = Constant <value_int = 20> ()
            yes = Constant <value = bool {1}> ()
            limit = Constant <value = float {40}> ()
            y = Loop (m, yes, x) <
                body = body (int64 i, bool c_in, float[N, 3] a) => (bool c_out, float[N, 3] b) {
                    b = Add (a, a)
                    size = ReduceL1 <keepdims = 0> (b)
                    c_out = Less (size, limit)
                }
            >
        }""",
        (X,),
        (0,),
    ),
    (
        "loop that ends by its counter",
        13,
        """loop (float[N, 3] x) => (float[N, 3] y, float[T, N, 3] ys, float[P, 3] z) {
            m = Constant <value_int = 20> ()
            zero = Constant <value_int = 0> ()
            limit = Constant <value_int = 8> ()
            yes = Constant <value = bool {1}> ()
            n, y, ys = Loop (m, yes, zero, x) <
                body = body (int64 i, bool c_in, int64 j, float[N, 3] a)
                    => (bool c_out, int64 k, float[N, 3] b, float[N, 3] e) {
                    two = Constant <value_int = 2> ()
                    k = Add (j, two)
                    c_out = Less (k, limit)
                    e = Sin (a)
                    b = Add (a, e)
                }
            >
            one = Constant <value_ints = [1]> ()
            times = Reshape (n, one)
            shape = Concat <axis = 0> (times, one)
            z = Tile (x, shape)
        }""",
        (X,),
        (0,),
    ),
    (
        "loop without a trip count",
        13,
        """loop (float[N, 3] x) => (float[N, 3] y) {
            yes = Constant <value = bool {1}> ()
            limit = Constant <value = float {40}> ()
            y = Loop ( , yes, x) <
                body = body (int64 i, bool c_in, float[N, 3] a) => (bool c_out, float[N, 3] b) {
                    b = Add (a, a)
                    size = ReduceL1 <keepdims = 0> (b)
                    c_out = Less (size, limit)
                }
            >
        }""",
        (X,),
        (),
    ),
    (
        "loop with a traced trip count",
        13,
        """loop (int64 m, float[N, 3] x) => (float[N, 3] y) {
            y = Loop (m, , x) <
                body = body (int64 i, bool c_in, float[N, 3] a) => (bool c_in, float[N, 3] b) {
                    b = Add (a, a)
                }
            >
        }""",
        (np.asarray(3), X),
        (),
    ),
    (
        "loop that its input counts, with scan outputs",
        13,
        """loop (int64 m, float[N, 3] x) => (float[N, 3] y, float[T, N, 3] ys) {
            y, ys = Loop (m, , x) <
                body = body (int64 i, bool c_in, float[N, 3] a)
                    => (bool c_in, float[N, 3] b, float[N, 3] b) {
                    b = Add (a, a)
                }
            >
        }""",
        (np.asarray(3), X),
        (1,),
    ),
    (
        "loop of no steps",
        13,
        """loop (float[2, 3] x) => (float[2, 3] y, float[T, 2, 3] ys) {
            m = Constant <value_int = 0> ()
            y, ys = Loop (m, , x) <
                body = body (int64 i, bool c_in, float[2, 3] a)
                    => (bool c_in, float[2, 3] b, float[2, 3] e) {
                    b = Add (a, a)
                    e = Exp (a)
                }
            >
        }""",
        (X,),
        (0,),
    ),
    (
        "loop with scan outputs up to where the data says",
        13,
        """loop (float[N, 3] x) => (float[T, N, 3] ys) {
            yes = Constant <value = bool {1}> ()
            m = Constant <value_int = 9> ()
            limit = Constant <value = float {40}> ()
            y, ys = Loop (m, yes, x) <
                body = body (int64 i, bool c_in, float[N, 3] a)
                    => (bool c_out, float[N, 3] b, float[N, 3] e) {
                    b = Add (a, a)
                    e = Exp (b)
                    size = ReduceL1 <keepdims = 0> (b)
                    c_out = Less (size, limit)
                }
            >
        }""",
        (X,),
        (),
    ),
    (
        "loop in a loop",
        13,
        """loop (float[N, 3] x) => (float[N, 3] y) {
            m = Constant <value_int = 3> ()
            y = Loop (m, , x) <
                body = outer (int64 i, bool c_in, float[N, 3] a) => (bool c_in, float[N, 3] b) {
                    b = Loop (i, , a) <
                        body = inner (int64 j, bool d_in, float[N, 3] e)
                            => (bool d_in, float[N, 3] f) {
                            g = Sin (e)
                            f = Add (g, x)
                        }
                    >
                }
            >
        }""",
        (X,),
        (),
    ),
    (
        "loop that appends to a sequence",
        13,
        """loop (float[N, 3] x) => (float[T, N, 3] y, int64 n) {
            m = Constant <value_int = 3> ()
            none = SequenceEmpty <dtype = 1> ()
            seq = Loop (m, , none) <
                body = body (int64 i, bool c_in, seq(float[N, 3]) a)
                    => (bool c_in, seq(float[N, 3]) b) {
                    s = Sin (x)
                    b = SequenceInsert (a, s)
                }
            >
            y = ConcatFromSequence <axis = 0, new_axis = 1> (seq)
            n = SequenceLength (seq)
        }""",
        (X,),
        (0,),
    ),
    (
        "scan with axes and directions",
        11,
        """scan (float[3] h, float[2, 3, 5] x, float[5, 3] z)
            => (float[3] y, float[3, 5] ys, float[5, 3] zs) {
            y, ys, zs = Scan <
                num_scan_inputs = 2, scan_input_axes = [-1, 0], scan_input_directions = [1, 0],
                scan_output_axes = [1, 0], scan_output_directions = [0, 1],
                body = body (float[3] a, float[2, 3] u, float[3] v)
                    => (float[3] b, float[3] s, float[3] t) {
                    ones = Constant <value = float[2] {1, 1}> ()
                    r = MatMul (ones, u)
                    rv = Mul (r, v)
                    p = Sin (a)
                    b = Add (p, rv)
                    s = Mul (b, v)
                    t = Identity (p)
                }
            > (h, x, z)
        }""",
        (X[0], line(2, 3, 5), line(5, 3) + 2),
        (0, 1, 2),
    ),
    (
        "scan of a batch",
        8,
        """scan (int64[2] n, float[2, 3] h, float[2, 4, 3] x)
            => (float[2, 3] y, float[2, 4, 3] ys) {
            y, ys = Scan <
                num_scan_inputs = 1, directions = [1],
                body = body (float[3] a, float[3] u) => (float[3] b, float[3] s) {
                    p = Sin (a)
                    b = Add (p, u)
                    s = Identity (b)
                }
            > (n, h, x)
        }""",
        (np.asarray([4, 2]), X, line(2, 4, 3)),
        (1, 2),
    ),
    (
        "scan of a batch of full lengths",
        8,
        """scan (float[2, 3] h, float[2, 4, 3] x) => (float[2, 3] y, float[2, 4, 3] ys) {
            y, ys = Scan <
                num_scan_inputs = 1,
                body = body (float[3] a, float[3] u) => (float[3] b, float[3] s) {
                    p = Sin (a)
                    b = Add (p, u)
                    s = Identity (b)
                }
            > ( , h, x)
        }""",
        (X, line(2, 4, 3)),
        (0, 1),
    ),
    (
        "sequences",
        13,
        """sequences (float[N, 3] x, float[N, 3] z)
            => (float[M] y, float[P, 3] c, int64 n, float[N, 3] last) {
            minus = Constant <value = int64 {-2}> ()
            one = Constant <value = int64 {1}> ()
            a = SequenceConstruct (x, z, x)
            b = SequenceInsert (a, z, minus)
            d = SequenceErase (b, one)
            e = SequenceErase (d)
            f = SequenceInsert (e, x)
            n = SequenceLength (f)
            c = ConcatFromSequence <axis = 0> (f)
            last = SequenceAt (f, minus)
            parts = SplitToSequence <axis = 1, keepdims = 0> (c)
            y = SequenceAt (parts, one)
        }""",
        (X, X * 2 + 1),
        (0, 1),
    ),
    (
        "splits",
        13,
        """splits (float[5, 3] x) => (float[A, 3] a, float[B, 3] b, float[C, 3] c, int64 n) {
            two = Constant <value = int64 {2}> ()
            sizes = Constant <value = int64[2] {1, 4}> ()
            one = Constant <value = int64 {1}> ()
            first = Constant <value = int64 {0}> ()
            evenly = SplitToSequence (x, two)
            parts = SplitToSequence <axis = -2> (x, sizes)
            rows = SplitToSequence (x)
            a = SequenceAt (evenly, two)
            b = SequenceAt (parts, one)
            c = SequenceAt (rows, first)
            n = SequenceLength (rows)
        }""",
        (line(5, 3),),
        (0,),
    ),
    (
        "sequence map",
        17,
        """maps (float[N, 3] x, float[3] z) => (float[M, 3] y) {
            rows = SplitToSequence (x)
            mapped = SequenceMap (rows, z) <
                body = body (float[1, 3] a, float[3] b) => (float[1, 3] c) {
                    c = Mul (a, b)
                }
            >
            y = ConcatFromSequence <axis = 0> (mapped)
        }""",
        (X, X[1]),
        (0, 1),
    ),
    (
        "optionals of the first version",
        15,
        """optionals (float[N, 3] x) => (float[N, 3] y, bool some) {
            o = Optional (x)
            some = OptionalHasElement (o)
            y = OptionalGetElement (o)
        }""",
        (X,),
        (0,),
    ),
    (
        "optionals",
        18,
        """optionals (float[N, 3] x) => (float[N, 3] y, bool some, bool none) {
            o = Optional (x)
            some = OptionalHasElement (o)
            none = OptionalHasElement ()
            y = OptionalGetElement (o)
        }""",
        (X,),
        (0,),
    ),
]


# Further opsets, at which a model's operators have other versions.
OPSETS = {
    "if traced": (7, 13, 16, 19, 21, 23, 24, 25),
    "loop as a scan": (7, 11, 16, 19, 21, 23, 24, 25),
    "scan with axes and directions": (9, 16, 19, 21, 23, 24, 25),
    "sequences": (11,),
    "splits": (11, 24),
}


def model_of(name: str, double: bool = False, opset: int | None = None) -> onnx.ModelProto:
    first, text = next(rest[:2] for first, *rest in MODELS if first == name)
    if double:
        text = text.replace("float", "double").replace("dtype = 1", "dtype = 11")
    return onnx.parser.parse_model(HEAD % (opset or first) + text)
