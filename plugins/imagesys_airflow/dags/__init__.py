"""The DAGs: each file builds one kind, with its tasks in their order; ``manual.md`` is what the UI shows of each."""
