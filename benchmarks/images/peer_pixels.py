"""Runs in img2dataset's environment: its own resizer's files, and cv2's pixels. Argument: a JSON list of jobs.

A job is {"source", "jpeg", "png": {interpolation: file}, "size": [width, height], "quality"}.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import cv2
from img2dataset.resizer import Resizer


def main() -> None:
    """Do all jobs."""
    for job in json.loads(Path(sys.argv[1]).read_text()):
        data = Path(job["source"]).read_bytes()
        resizer = Resizer(max(job["size"]), "keep_ratio_largest", True, encode_quality=job["quality"])
        made, _, _, _, _, error = resizer(io.BytesIO(data))
        if error:
            raise RuntimeError(f"{job['source']}: {error}")
        Path(job["jpeg"]).write_bytes(made)
        image = cv2.imread(job["source"])
        for name, target in job["png"].items():
            interpolation = getattr(cv2, f"INTER_{name.upper()}")
            cv2.imwrite(target, cv2.resize(image, tuple(job["size"]), interpolation=interpolation))


if __name__ == "__main__":
    main()
