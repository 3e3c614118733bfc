"""Logs become pulls in the lake: `ingest`, live deliveries, and `pulls` back out."""
