"""What happened, what would have, and what to do."""
