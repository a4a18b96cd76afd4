"""The Dagster code location: everything is put together here, and nothing else happens."""
