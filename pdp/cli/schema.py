"""`pdp schema`: JSON Schemas of documents, for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# Short lines and no square brackets: they are shown as they stand, and brackets are markup.
HELP = """Print the JSON Schema of a kind of document, for completion in an editor.

KIND is `policy`, `shared`, `callers`, `tests`, `fixtures`, `schema` or
`http_mapping`; without one, they are listed. `--to FOLDER` writes all of
them, as `policy.schema.json` and so on. They are for editing: what
`pdp check` finds is more.

\b
  pdp schema policy
  pdp schema --to .pdp

Any editor with yaml-language-server takes one from the first line of a
document:

\b
  # yaml-language-server: $schema=.pdp/policy.schema.json
  policy: expense-approval

Or all of them from its settings; in VS Code, `.vscode/settings.json`:

\b
  {"yaml.schemas": {
    ".pdp/tests.schema.json": "policies/**/*_test.yaml",
    ".pdp/callers.schema.json": "policies/**/callers.yaml",
    ".pdp/schema.schema.json": "policies/**/schema_*.yaml"}}

Exit code: 0 done, 2 an unknown kind, or a folder that cannot be written.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("schema", help=HELP)(schema)


def schema(
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="The kind of document.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write all of them into this folder.")
    ] = None,
) -> None:
    """Print a schema."""
    from pdp.authoring.editor_schemas import KINDS, schema_text
    from pdp.errors import ConfigurationError

    if kind is not None and kind not in KINDS:
        known = ", ".join(f"`{name}`" for name in KINDS)
        raise ConfigurationError(f"there is no kind `{kind[:60]}` of document: it may be {known}")
    if to is not None:
        to.mkdir(parents=True, exist_ok=True)
        for name in KINDS if kind is None else (kind,):
            path = to / f"{name}.schema.json"
            path.write_text(schema_text(name), encoding="utf-8")
            typer.echo(path)
    elif kind is None:
        for name, what in KINDS.items():
            typer.echo(f"{name:<13}{what}")
    else:
        typer.echo(schema_text(kind), nl=False)
