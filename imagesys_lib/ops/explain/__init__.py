"""Explain: everything known of an image, and so why it is not live or not on a node.

``gather`` asks the database and the nodes, ``verdicts`` judges what they said, ``screen`` makes several images fit one.
"""

from imagesys_lib.ops.explain.gather import Explanation, explain, hashes_for

__all__ = ["Explanation", "explain", "hashes_for"]
