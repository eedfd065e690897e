"""The ETL: its rows read in pages, and each made into a listing or into a fault with a name."""
