"""What the scheduler costs: a country's daily run through a real Airflow, beside `imagesys run` on the same work."""
