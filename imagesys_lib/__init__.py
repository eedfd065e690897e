"""The ImageSys library: everything the pipeline does, with no knowledge of Airflow.

Code outside ImageSys calls :mod:`imagesys_lib.interface` alone; all else is private to this project.
"""

from imagesys_lib.output.logs import escape_records

escape_records()
