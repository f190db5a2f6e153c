"""A provider that is a function of an installed package, found by its entry point.

    [project.entry-points."portcullis.providers"]
    directory = "example.directory:look_up"

    def look_up(asked: Asked, seconds: float) -> Mapping[str, Any] | None: ...

It is called in a thread and is trusted as the PDP itself is: it runs in its process. None
means that it knows nothing of whom it was asked. What it raises is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Final

from pdp.errors import ConfigurationError
from pdp.fetched import FetchOutcome
from pdp.fetching import Asked
from pdp.providers.asking import ProviderError
from pdp.providers.settings import PythonSource

GROUP: Final = "portcullis.providers"


class PythonProvider:
    """Asks one function.

    Raises:
        ConfigurationError: there is no such entry point, or not exactly one, or it does not load.
    """

    def __init__(self, settings: PythonSource) -> None:
        name = settings.entry_point
        found = entry_points(group=GROUP, name=name)
        if len(found) != 1:
            raise ConfigurationError(
                f"there are {len(found)} entry points {name[:80]!a} in the group `{GROUP}`: "
                "install the package that has it"
            )
        (point,) = found
        try:
            function = point.load()
        except Exception as error:
            raise ConfigurationError(
                f"the entry point `{point.value}` does not load ({type(error).__name__})"
            ) from error
        if not callable(function):
            raise ConfigurationError(f"the entry point `{point.value}` is no function")
        self._function: Callable[[Asked, float], Any] = function

    def ask(self, asked: Asked, seconds: float) -> Mapping[str, Any]:
        """As `pdp.providers.asking.Answering`."""
        try:
            found = self._function(asked, seconds)
        except ProviderError:
            raise
        except TimeoutError:
            raise ProviderError(FetchOutcome.LATE, "TimeoutError") from None
        except Exception as error:
            raise ProviderError(FetchOutcome.DOWN, type(error).__name__) from error
        if found is None:
            raise ProviderError(FetchOutcome.UNKNOWN, "None")
        if not isinstance(found, Mapping):
            raise ProviderError(FetchOutcome.WRONG, f"{type(found).__name__} is no mapping")
        return found

    def close(self) -> None:
        """Nothing is open."""
