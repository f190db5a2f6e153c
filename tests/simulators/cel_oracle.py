"""Google's evaluator as an oracle, in a child process. Run as a script.

Reads one JSON object from standard input, `{"configuration", "variables", "cases": [{"source",
"attributes": [...]}]}`, and writes for each case a list of answers,
`[kind, value]`. Its known defects are kept away from it: no NUL, no nulls as
results (they leak references), no deep data, no bytes.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from cel_expr_python import cel

TYPES = {
    "string": cel.Type.STRING,
    "dyn": cel.Type.DYN,
    "map(string, dyn)": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
    "google.protobuf.Timestamp": cel.Type.TIMESTAMP,
}
SCALARS = ("BOOL", "INT", "UINT", "STRING")


def answer(expression: Any, attributes: dict[str, Any]) -> list[Any]:
    """`["value", type, value]`, or `["error"]`; the value of scalars only."""
    seconds = attributes.pop("now") if "now" in attributes else 0
    attributes["now"] = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    try:
        found = expression.eval(data=attributes)
    except RuntimeError:
        return ["error"]
    kind = repr(found.type())
    if kind == "ERROR":
        return ["error"]
    if kind == "DOUBLE":
        return ["value", kind, repr(found.value())]
    return ["value", kind, found.value() if kind in SCALARS else None]


def main() -> None:
    """Answer everything."""
    request = json.load(sys.stdin)
    environment = cel.NewEnv(
        config=cel.NewEnvConfigFromYaml(request["configuration"]),
        variables={name: TYPES[kind] for name, kind in request["variables"].items()},
    )
    out = []
    for case in request["cases"]:
        expression = environment.compile(case["source"])
        out.append([answer(expression, attributes) for attributes in case["attributes"]])
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    main()
