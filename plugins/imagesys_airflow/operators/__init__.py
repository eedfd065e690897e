"""The tasks of the DAGs: each operator runs one stage of the library."""
