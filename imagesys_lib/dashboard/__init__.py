"""The dashboard's pages as data: one module a page reads the database, a web app (``imagesys_airflow.api``) shows it.

Every page is a frozen dataclass of :class:`~imagesys_lib.dashboard.tables.Table` and
:class:`~imagesys_lib.dashboard.charts.Chart`; none reads more than some thousand rows.
"""
