"""`[search]`, judged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pdp.config.document import Document, SearchSection
from pdp.config.settings import SearchSettings
from pdp.directory.settings import Form, directory_settings
from pdp.errors import ConfigurationError
from pdp.search_query import SearchLimits

# Looks at a file: its name as a setting, and its path; the absolute path comes back.
Look = Callable[[str, Path], Path]


def search_settings(
    document: Document, folder: Path, look: Look, problems: list[str]
) -> SearchSettings | None:
    """What searches need, or None: there are to be none, or it has a problem.

    Args:
        document: all of the configuration.
        folder: that relative paths count from.
        look: at files.
        problems: what is wrong is added.
    """
    section = document.search
    if section == SearchSection():
        return None
    if section.directory is None:
        problems.append("`search.directory` is missing: set it, or nothing of `search`")
        return None
    if document.authzen.listen is None:
        problems.append("`search` is answered over HTTP only: set `authzen`, too")
    if document.workers > 1 and section.token_key is None:
        problems.append(
            "`search.token_key` is missing: with several `workers`, a page token comes back to "
            "another one; make it with `openssl rand -out token.key 32`"
        )
    if section.page_items_default > section.page_items_max:
        problems.append("`search.page_items_default` is above `search.page_items_max`")
    if section.directory_time_max_s >= document.limits.deadline_default_s:
        problems.append(
            "`search.directory_time_max_s` is not below `limits.deadline_default_s`: a slow "
            "directory would leave no time for an answer"
        )
    files = {
        name: None if path is None else look(f"search.{name}", path)
        for name, path in (
            ("password_file", section.password_file),
            ("ca_bundle", section.ca_bundle),
            ("token_key", section.token_key),
        )
    }
    try:
        directory = directory_settings(
            section.directory,
            folder,
            files["password_file"],
            files["ca_bundle"],
            section.directory_time_max_s,
        )
    except ConfigurationError as error:
        problems.append(f"`search`: {error}")
        return None
    if directory.form is not Form.POSTGRESQL and directory.path is not None:
        look("search.directory", directory.path)
    limits = SearchLimits(
        section.page_items_default,
        section.page_items_max,
        section.candidates_max,
        section.token_life_s,
    )
    return SearchSettings(directory, limits, files["token_key"])
