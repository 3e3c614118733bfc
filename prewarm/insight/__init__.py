"""Chapter 4: what happened, what would have, what to do."""
