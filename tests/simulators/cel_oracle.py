"""Google's evaluator as an oracle, in a child process that may die. Run as a script.

The first line of standard input is `{"configuration", "variables"}`, each further
line a case, `{"source", "attributes": [...]}`. It answers each with a line, a
list of answers, `[kind, value]`. Its known defects are kept away from it: no
NUL, no nulls as results (they leak references), no deep data, no bytes.
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
    if "now" in attributes:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=attributes["now"])
        attributes = {**attributes, "now": moment}
    try:
        found = expression.eval(data=attributes)
    except (RuntimeError, ValueError):
        return ["error"]
    kind = repr(found.type())
    if kind == "ERROR":
        return ["error"]
    if kind == "DOUBLE":
        return ["value", kind, repr(found.value())]
    return ["value", kind, found.value() if kind in SCALARS else None]


def main() -> None:
    """Answer everything."""
    request = json.loads(sys.stdin.readline())
    environment = cel.NewEnv(
        config=cel.NewEnvConfigFromYaml(request["configuration"]),
        variables={name: TYPES[kind] for name, kind in request["variables"].items()},
    )
    for line in sys.stdin:
        case = json.loads(line)
        expression = environment.compile(case["source"])
        answers = [answer(expression, attributes) for attributes in case["attributes"]]
        sys.stdout.write(f"{json.dumps(answers)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
