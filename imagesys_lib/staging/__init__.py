"""The worker's disk: originals and thumbnails on their way."""
