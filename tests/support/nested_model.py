"""A model of subgraphs inside each other: an If in a Loop in an If, with copies that do nothing."""

from __future__ import annotations

from support.small_models import header, make

TEXT = """ nested (float[N, 4] x, bool c, int64 n) => (float[N, 4] y) {
    h = Exp (x)
    s = Sin (x)
    y = If <
        then_branch = outer_then () => (float[N, 4] a) {
            more = Constant <value = bool {1}> ()
            copied = Identity (h)
            a, rows = Loop (n, more, copied) <
                body = step (int64 i, bool before, float[N, 4] state)
                    => (bool after, float[N, 4] next, float[N, 4] row) {
                    after = Identity (before)
                    sum = Add (state, s)
                    next = If <
                        then_branch = inner_then () => (float[N, 4] p) {
                            q = Mul (sum, h)
                            p = Tanh (q)
                        },
                        else_branch = inner_else () => (float[N, 4] r) {
                            w = Sub (state, s)
                            r = Neg (w)
                        }
                    > (c)
                    row = Abs (next)
                }
            >
        },
        else_branch = outer_else () => (float[N, 4] b) {
            t = Mul (h, s)
            b = Cos (t)
        }
    > (c)
}"""


def nested() -> bytes:
    """The model as a file."""
    return make(header() + TEXT)
