"""The configuration: one typed, frozen model per country, read from ``include/countries.yaml``."""

from imagesys_lib.config.country import CountryConfig
from imagesys_lib.config.fetch_settings import Breaker, Fetch, HostLimits, Retry
from imagesys_lib.config.last_good import STATE_VARIABLE, copy_age, state_folder
from imagesys_lib.config.load import (
    CONFIG_VARIABLE,
    DEFAULT_PATH,
    broken_config,
    config_path,
    config_troubles,
    country_config,
    keep_good,
    lis_datasource_process_details,
    load_config,
    refusing_broken,
)
from imagesys_lib.config.node_transfers import Transfer
from imagesys_lib.config.process_details import DataSource, ProcessDetails, Size, Thumbnailing
from imagesys_lib.config.section import StatusMeaning
from imagesys_lib.config.settings import Alerts, Batching, Canary, Check, EtlTable, Purge, Retention, Staging

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_PATH",
    "STATE_VARIABLE",
    "Alerts",
    "Batching",
    "Breaker",
    "Canary",
    "Check",
    "CountryConfig",
    "DataSource",
    "EtlTable",
    "Fetch",
    "HostLimits",
    "ProcessDetails",
    "Purge",
    "Retention",
    "Retry",
    "Size",
    "Staging",
    "StatusMeaning",
    "Thumbnailing",
    "Transfer",
    "broken_config",
    "config_path",
    "config_troubles",
    "copy_age",
    "country_config",
    "keep_good",
    "lis_datasource_process_details",
    "load_config",
    "refusing_broken",
    "state_folder",
]
