"""A ranking becomes a plan and outcomes; caches, schedules and the kill switch."""
