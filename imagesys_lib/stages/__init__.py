"""The stages of a run, one module each, in the order in which a run takes them.

Each asks the database what is left to do, so that any of them can be killed and run again at any time.
"""
