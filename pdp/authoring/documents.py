"""YAML 1.2, strict, with the position of every node.

The events come from ruamel.yaml's pure Python parser; composing them into
nodes and resolving plain scalars (YAML 1.2.2, section 10.3.2, core schema) is
done here, because a policy must mean to every reader what it means to us:
duplicate keys, tags, anchors, aliases, merges, directives, a second document,
keys that are not strings, invisible and direction-changing characters are
refused. Size, depth and number of nodes are limited before anything else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from pdp.authoring import yaml_hints
from pdp.authoring.nodes import List, Map, Node, Scalar, ScalarValue, Source
from pdp.authoring.problems import Problems, word
from pdp.errors import DocumentError, Position
from pdp.values import INT64_MAX, INT64_MIN

# A policy is read by people: Kubernetes stops objects at 1.5 MiB, and ours are
# far smaller. Depth as for requests. The parser takes about 25 µs a node.
DOCUMENT_BYTES_MAX = 1 << 20
DEPTH_MAX = 32
NODES_MAX = 50_000
# int64 has 19 digits; more are not worth parsing.
INT_CHARACTERS_MAX = 24

# Not printable in YAML, a line break to some readers only (NEL, LS, PS, a lone
# CR), or able to make a reviewer see other text than what is evaluated
# (bidirectional controls: "Trojan Source", CVE-2021-42574).
_REFUSED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e"
    "\u2066-\u2069\ufeff\ufffe\uffff]|\r(?!\n)"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_AMBIGUOUS = re.compile(r"[-+]?0[0-9]+")
_STYLES = {None: "plain", "": "plain", "'": "single", '"': "double", "|": "literal", ">": "folded"}


def read_document(path: str, data: bytes, problems: Problems) -> Map | None:
    """Read one document.

    Args:
        path: for positions.
        data: the file's bytes.
        problems: gets everything that is wrong.

    Returns:
        Its root, or None after a problem.
    """
    before = len(problems)
    try:
        source = Source(path, _decode(path, data))
        root = _Composer(source, problems).compose()
    except DocumentError as error:
        problems.note(error)
        return None
    if len(problems) > before:
        return None
    if not isinstance(root, Map):
        problems.add(root.position, "a document must be a map", "begin with `policy:` or `kind:`")
        return None
    return root


def _decode(path: str, data: bytes) -> str:
    if len(data) > DOCUMENT_BYTES_MAX:
        message = f"is larger than {DOCUMENT_BYTES_MAX} bytes"
        raise DocumentError(message, Position(path, 1, 1), "split it into several documents")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        position = Source(path, before).position(len(before))
        message = f"byte 0x{data[error.start]:02x} is not valid UTF-8"
        raise DocumentError(message, position, "save the file as UTF-8") from None
    # Some editors begin a file with a byte order mark; it says nothing.
    text = text.removeprefix("\ufeff")
    if found := _REFUSED.search(text):
        position = Source(path, text).position(found.start())
        message = f"character U+{ord(found[0]):04X} is not allowed here"
        hint = f'it is invisible or misleads; in quotes it is written `"\\u{ord(found[0]):04x}"`'
        raise DocumentError(message, position, hint)
    return text


class _Composer:
    """Turns events into nodes."""

    def __init__(self, source: Source, problems: Problems) -> None:
        self.source = source
        self.problems = problems
        self.nodes_left = NODES_MAX
        self.index = 0
        self.events = self._events()

    def _events(self) -> Iterator[Event]:
        """The parser's events; whatever it raises becomes a DocumentError."""
        try:
            for event in YAML(typ="safe", pure=True).parse(self.source.text):
                self.index = event.start_mark.index
                yield event
        except MarkedYAMLError as error:
            unclosed = "unexpected end of stream" in str(error.problem)
            mark = error.context_mark if unclosed else error.problem_mark
            mark = mark or error.problem_mark or error.context_mark
            index = self.index if mark is None else min(mark.index, len(self.source.text))
            position = self.source.position(index)
            problem = " ".join(str(error.problem or error.context or "").split())
            message, hint = yaml_hints.explain(problem, self.source.line(position.line), position)
            raise DocumentError(message, position, hint) from None
        except DocumentError:
            raise
        except (YAMLError, ValueError, LookupError, OverflowError, AssertionError):
            # ruamel.yaml lets some of Python's own errors out: `"\UFFFFFFFF"` is an OverflowError.
            message = "this, or what follows it, is not valid YAML"
            raise DocumentError(message, self.source.position(self.index)) from None

    def compose(self) -> Node:
        """The one document of the stream.

        Raises:
            DocumentError: what leaves nothing to go on with. Other problems are
                collected.
        """
        root: Node | None = None
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                self._document(event, first=root is None)
            elif not isinstance(event, StreamStartEvent | StreamEndEvent | DocumentEndEvent):
                root = self._node(event, 0)
        if root is None:
            message = "the document is empty"
            raise DocumentError(message, Position(self.source.path, 1, 1), "remove the file")
        return root

    def _document(self, event: DocumentStartEvent, *, first: bool) -> None:
        position = self.source.position(event.start_mark.index)
        if not first:
            message = "a second document begins here"
            raise DocumentError(message, position, "one file holds one document")
        for number in range(1, position.line):
            if self.source.line(number).startswith("%"):
                message = "YAML directives are not supported"
                raise DocumentError(message, Position(position.path, number, 1), "remove the line")

    def _node(self, event: Any, depth: int) -> Node:
        start = event.start_mark.index
        position = self.source.position(start)
        self.nodes_left -= 1
        if self.nodes_left < 0:
            message = f"the document has more than {NODES_MAX} values"
            raise DocumentError(message, position, "split it into several documents")
        if depth > DEPTH_MAX:
            message = f"the document is nested deeper than {DEPTH_MAX} levels"
            raise DocumentError(message, position, "nothing that is read here is so deep")
        if isinstance(event, AliasEvent):
            hint = 'write the text out; a sole star is written `"*"`'
            self.problems.add(position, f"alias {word('*' + str(event.anchor))} is refused", hint)
            return Scalar(self.source, None, "", "plain", start, start)
        if event.anchor is not None:
            hint = "write the text out where it is needed; quote a text that begins with `&`"
            self.problems.add(position, f"anchor {word('&' + str(event.anchor))} is refused", hint)
        if event.tag is not None and str(event.tag):
            self.problems.add(position, *yaml_hints.tag(self.source.line(position.line)))
        if isinstance(event, MappingStartEvent):
            return self._map(event, depth)
        if isinstance(event, SequenceStartEvent):
            return self._list(event, depth)
        return self._scalar(event, position)

    def _list(self, start: SequenceStartEvent, depth: int) -> List:
        items = []
        end = start.start_mark.index
        for event in self.events:
            if isinstance(event, SequenceEndEvent):
                end = event.end_mark.index
                break
            items.append(self._node(event, depth + 1))
        flow = bool(start.flow_style)
        return List(self.source, tuple(items), start.start_mark.index, end, flow)

    def _map(self, start: MappingStartEvent, depth: int) -> Map:
        entries: dict[str, tuple[Scalar, Node]] = {}
        end = start.start_mark.index
        for event in self.events:
            if isinstance(event, MappingEndEvent):
                end = event.end_mark.index
                break
            key = self._node(event, depth + 1)
            value = self._node(next(self.events), depth + 1)
            if isinstance(key, Scalar) and isinstance(value, Scalar) and value.start == value.end:
                # An absent value is nowhere; to a reader it is missing behind its key.
                value = replace(value, start=key.end, end=key.end)
            if (name := self._key(key, entries)) is not None:
                entries[name.text] = (name, value)
        flow = bool(start.flow_style)
        return Map(self.source, tuple(entries.values()), start.start_mark.index, end, flow)

    def _key(self, key: Node, entries: dict[str, tuple[Scalar, Node]]) -> Scalar | None:
        """The key if it may be one here, else None and a problem."""
        if not isinstance(key, Scalar):
            self.problems.add(key.position, "a key must be a string", yaml_hints.QUOTE)
        elif type(key.value) is not str:
            hint = f'write `"{key.text}"`' if key.text else "write a key before the `:`"
            self.problems.add(key.position, f"key {word(key.text)} is not a string", hint)
        elif key.text == "<<" and key.style == "plain":
            hint = "write the keys out where they are needed"
            self.problems.add(key.position, "merge key `<<` is refused", hint)
        elif key.text in entries:
            line = entries[key.text][0].position.line
            hint = f"it is on line {line} already"
            self.problems.add(key.position, f"key {word(key.text)} is given twice", hint)
        else:
            return key
        return None

    def _scalar(self, event: Any, position: Position) -> Scalar:
        text: str = event.value
        style = _STYLES[event.style]
        value: ScalarValue = text
        try:
            value = _resolve(text) if style == "plain" else text
        except ValueError as error:
            self.problems.add(position, f"{word(text)} {error}", f'a string is written `"{text}"`')
        if _SURROGATE.search(text):
            self.problems.add(
                position, "the text is not valid Unicode", "remove the `\\ud…` escape"
            )
        start, end = event.start_mark.index, event.end_mark.index
        return Scalar(self.source, value, text, style, start, end)


def _resolve(text: str) -> ScalarValue:
    """The value of a plain scalar by the core schema; int64, finite, not ambiguous.

    Raises:
        ValueError: with what is wrong, to follow the text in a message.
    """
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _AMBIGUOUS.fullmatch(text):
        message = "has a leading zero, which some read as octal"
        raise ValueError(message)
    if _INT.fullmatch(text):
        number = 0
        if len(text) <= INT_CHARACTERS_MAX:
            number = int(text, 0)
        if len(text) > INT_CHARACTERS_MAX or not INT64_MIN <= number <= INT64_MAX:
            message = "is out of the range of int64"
            raise ValueError(message)
        return number
    if _NOT_FINITE.fullmatch(text):
        message = "is not a finite number"
        raise ValueError(message)
    if _FLOAT.fullmatch(text):
        real = float(text)
        if not math.isfinite(real):
            message = "is out of the range of double"
            raise ValueError(message)
        return real
    return text
