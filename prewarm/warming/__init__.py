"""Chapter 3: a ranking becomes a plan, and a plan becomes outcomes."""
