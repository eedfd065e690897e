"""What Airflow must know by name, in each of its components: registered here, made in ``imagesys_airflow``."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from imagesys_airflow.api.views import APPS, VIEWS
from imagesys_airflow.preload import preload
from imagesys_airflow.scheduling.deadline import RunQueued
from imagesys_airflow.scheduling.priority import DailyFirst
from imagesys_airflow.scheduling.timetable import LocalDayTimetable


class ImageSysPlugin(AirflowPlugin):
    """The only plugin. Airflow stores the names of these classes with each version of a DAG: they stay as they are.

    A version whose name is no longer registered answers with status 500 in the UI (Airflow 3.3).
    """

    name = "imagesys"
    timetables = [LocalDayTimetable]
    deadline_references = [RunQueued]
    priority_weight_strategies = [DailyFirst]
    fastapi_apps = APPS
    external_views = VIEWS

    @classmethod
    def on_load(cls, *_args: Any, **_kwargs: Any) -> None:
        """Called by Airflow once in each process that loads plugins."""
        preload()
