"""What ImageSys is on Airflow: its DAGs, their operators, when they run, and the mails about them."""
