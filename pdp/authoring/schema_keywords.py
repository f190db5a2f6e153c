"""The words of JSON Schema that schema documents may use, and hints about those they may not."""

from __future__ import annotations

from collections.abc import Mapping

from pdp.schema import NUMBERS, Kind

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# JSON Schema, Validation, 6.1.1. `integer` is narrower here than there: 1.0 is a double.
TYPES: Mapping[str, frozenset[Kind]] = {
    "null": frozenset({Kind.NULL}),
    "boolean": frozenset({Kind.BOOL}),
    "integer": frozenset({Kind.INT}),
    "number": NUMBERS,
    "string": frozenset({Kind.STRING}),
    "array": frozenset({Kind.LIST}),
    "object": frozenset({Kind.MAP}),
}
# What JSON has no words for and callers send all the same; in place of `type`.
VALUE_TYPES: Mapping[str, frozenset[Kind]] = {
    "timestamp": frozenset({Kind.TIMESTAMP}),
    "duration": frozenset({Kind.DURATION}),
    "bytes": frozenset({Kind.BYTES}),
    "uint64": frozenset({Kind.UINT}),
}
# For people; they check nothing.
ANNOTATIONS = ("title", "description", "$comment", "examples", "deprecated")
# Keywords that say something about values of certain kinds only.
ABOUT: Mapping[str, frozenset[Kind]] = {
    "properties": TYPES["object"],
    "required": TYPES["object"],
    "additionalProperties": TYPES["object"],
    "items": TYPES["array"],
    "minItems": TYPES["array"],
    "maxItems": TYPES["array"],
    "minLength": TYPES["string"],
    "maxLength": TYPES["string"],
    "pattern": TYPES["string"],
    "format": TYPES["string"],
    "minimum": NUMBERS | {Kind.UINT},
    "maximum": NUMBERS | {Kind.UINT},
    "exclusiveMinimum": NUMBERS | {Kind.UINT},
    "exclusiveMaximum": NUMBERS | {Kind.UINT},
}
KEYWORDS = ("type", "x-type", "enum", "const", *ABOUT, "$ref", *ANNOTATIONS)
ROOT_KEYWORDS = ("$schema", "$defs")
FORMATS = ("date-time",)
# Keywords of JSON Schema that people will look for, and what to do without them.
ELSEWHERE: Mapping[str, str] = {
    "default": "nothing is filled in: write what holds for an absent attribute into the condition",
    "nullable": 'write `type: [string, "null"]`',
    "oneOf": "write `type: [string, integer]`, or leave the part open",
    "anyOf": "write `type: [string, integer]`, or leave the part open",
    "allOf": "write the keywords side by side",
    "not": "write what is allowed",
    "patternProperties": "write `additionalProperties` with a schema",
    "dependentRequired": "write it as a deny rule",
    "if": "write it as a deny rule",
    "multipleOf": "write it as a deny rule",
    "definitions": "write `$defs`",
    "$id": "references lead into this document only",
    "$anchor": "references lead into `$defs` only",
    "$dynamicRef": 'write `$ref: "#/$defs/name"`',
}
