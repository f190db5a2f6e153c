"""What searches need, opened from the settings."""

from __future__ import annotations

from pdp.config.settings import SearchSettings
from pdp.directory.opening import open_directory
from pdp.directory.reading import DirectoryReader
from pdp.page_token import PageTokens, read_token_secret
from pdp.search import Searching
from pdp.telemetry import Telemetry


def open_searching(settings: SearchSettings, telemetry: Telemetry) -> Searching:
    """The directory, and what page tokens are sealed with.

    Whoever opens it closes `directory`.

    Raises:
        ConfigurationError: a file that is named cannot be used.
    """
    key = settings.token_key
    tokens = PageTokens(
        None if key is None else read_token_secret(key), settings.limits.token_life_s
    )
    directory = open_directory(settings.directory)
    reader = DirectoryReader(directory, settings.directory.time_max_s, telemetry)
    return Searching(reader, tokens, settings.limits)
