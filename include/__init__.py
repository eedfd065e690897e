"""Project files that are neither library, DAG nor plugin: the countries' configuration and the sandbox."""
