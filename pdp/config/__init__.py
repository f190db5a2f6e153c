"""Settings: from `pdp.toml` and the environment into frozen values.

    settings = load_settings(Path("pdp.toml"))

Reading order: settings (what there is), document (names and bounds), loading
(how it is read and judged).
"""

from pdp.config.loading import CONFIG_VARIABLE, ConfigurationProblemsError, load_settings
from pdp.config.settings import (
    Address,
    Limits,
    RecordSettings,
    Settings,
    TlsSettings,
)

__all__ = [
    "CONFIG_VARIABLE",
    "Address",
    "ConfigurationProblemsError",
    "Limits",
    "RecordSettings",
    "Settings",
    "TlsSettings",
    "load_settings",
]
