"""Reads registry logs, forecasts pulls, warms caches."""
