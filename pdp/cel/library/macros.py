"""Macros that an extension brings: `cel.bind`, and loops with two variables.

They have no functions: what they expand into is recognised by
`pdp.cel.macros`.
"""

from __future__ import annotations

from pdp.cel.library.rows import Library

BINDINGS = Library(name="bindings", functions=(), extension="bindings")
COMPREHENSIONS = Library(
    name="two-variable comprehensions", functions=(), extension="two-var-comprehensions"
)
