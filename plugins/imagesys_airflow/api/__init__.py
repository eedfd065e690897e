"""The dashboard: a web app of the plugin, which Airflow mounts at ``/imagesys`` and shows in frames."""
