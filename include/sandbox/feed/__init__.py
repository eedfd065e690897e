"""The ETL's listings, and what the web site serves under their URLs."""
