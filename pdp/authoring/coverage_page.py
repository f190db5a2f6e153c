"""Coverage as one HTML page: the policies in colours, to open in a browser.

INVARIANT: everything from a document is escaped, and the page needs and loads
nothing: no script, no link, no image. A policy is somebody else's text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from pdp.authoring.coverage import BRANCH, RULE, Coverage, Share
from pdp.authoring.coverage_report import Located, gaps

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --full: #2da44e40; --part: #d4a72c66;
  --none: #cf222e55; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { border: 1px solid var(--line); border-radius: 4px; overflow-x: auto; padding: .6rem 0; }
pre, code { font: 13px/1.5 ui-monospace, monospace; }
i { color: #888; display: inline-block; font-style: normal; margin-right: 1rem; text-align: right;
  user-select: none; width: 3.5rem; }
.full { background: var(--full); } .part { background: var(--part); }
.none { background: var(--none); outline: 1px solid #cf222eaa; }
"""
# A browser that follows it runs nothing, whatever got past the escaping.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_LEGEND = (
    ("full", "came to everything it can"),
    ("part", "came to one of true and false"),
    ("none", "never reached"),
)


def render(
    title: str,
    coverage: Coverage,
    spots: Sequence[Located],
    sources: Mapping[str, bytes],
) -> str:
    """The page.

    Args:
        title: the folder, as the user typed it.
        coverage: what was seen.
        spots: where.
        sources: the documents by path.
    """
    by_path: dict[str, list[Located]] = {}
    for item in spots:
        by_path.setdefault(item.begin.path, []).append(item)
    pieces = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n',
        f"<title>Coverage of {escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n",
        f"<h1>Coverage of <code>{escape(title)}</code></h1>\n",
        _summary(coverage),
        "<p>",
        " &nbsp; ".join(f'<span class="{name}">{text}</span>' for name, text in _LEGEND),
        "</p>\n",
        *_missing(coverage, spots),
    ]
    for path, items in by_path.items():
        text = sources.get(path, b"").decode(errors="replace").removeprefix("\ufeff")
        pieces += [f"<h2><code>{escape(path)}</code></h2>\n<pre>", *_source(text, items, coverage)]
        pieces.append("</pre>\n")
    return "".join([*pieces, "</body>\n</html>\n"])


def _summary(coverage: Coverage) -> str:
    rows = (
        ("rules that decided", coverage.rules),
        ("outcomes of conditions", coverage.conditions),
        ("branches of <code>&amp;&amp;</code>, <code>||</code> and <code>?:</code>",
         coverage.branches),
    )  # fmt: skip
    return f"<table>{''.join(_share(what, share) for what, share in rows)}</table>\n"


def _share(what: str, share: Share) -> str:
    figures = f"{share.covered} of {share.total}"
    return (
        f'<tr><th>{what}</th><td class="number">{figures}</td>'
        f'<td class="number">{share.percent} %</td></tr>'
    )


def _missing(coverage: Coverage, spots: Sequence[Located]) -> Iterator[str]:
    found = list(gaps(coverage, tuple(spots)))
    if not found:
        return
    yield "<h2>Missing</h2>\n<ul>\n"
    for gap in found:
        at = gap.where.begin
        place = escape(f"{at.path}:{at.line}:{at.column}")
        yield f"<li><code>{place}</code> {escape(gap.message)}</li>\n"
    yield "</ul>\n"


def _source(text: str, items: Sequence[Located], coverage: Coverage) -> Iterator[str]:
    """The lines of a document, its spots in colours; the innermost spot shows."""
    lines = text.split("\n")
    paint: dict[int, list[Located | None]] = {}
    for item in items:
        for number in range(item.begin.line, item.last.line + 1):
            line = lines[number - 1]
            row = paint.setdefault(number, [None] * len(line))
            begin = item.begin.column - 1 if number == item.begin.line else _indent(line)
            end = item.last.column if number == item.last.line else len(line.rstrip())
            row[begin:end] = [item] * (end - begin)
    for number, line in enumerate(lines, 1):
        if number == len(lines) and not line:
            break
        yield f"<i>{number}</i>"
        yield from _line(line, paint.get(number, []), coverage)
        yield "\n"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _line(line: str, row: Sequence[Located | None], coverage: Coverage) -> Iterator[str]:
    start = 0
    while start < len(line):
        item = row[start] if start < len(row) else None
        end = start + 1
        while end < len(line) and (row[end] if end < len(row) else None) is item:
            end += 1
        shown = escape(line[start:end])
        yield shown if item is None else _coloured(shown, item, coverage)
        start = end


def _coloured(shown: str, item: Located, coverage: Coverage) -> str:
    missing, wanted = coverage.missing(item.spot), item.spot.wanted
    name = "full" if not missing else "none" if missing == wanted else "part"
    return f'<span class="{name}" title="{escape(_title(item, coverage))}">{shown}</span>'


def _title(item: Located, coverage: Coverage) -> str:
    spot, counts = item.spot, coverage.counts
    if spot.what == RULE:
        return f"decided {counts.get((spot, 'decided'), 0)} times"
    if spot.what == BRANCH:
        return f"evaluated {counts.get((spot, 'evaluated'), 0)} times"
    words = ("true", "false", "in doubt")
    return f"{spot.what}: " + ", ".join(f"{word} {counts.get((spot, word), 0)}" for word in words)
