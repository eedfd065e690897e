"""The databases: tables, engines, transactions and migrations."""
