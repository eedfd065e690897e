"""An example website: what thumbnails are for, in one look."""
