"""Chapter 2: pulls become a ranking. All of it is core: no I/O, no clock, no logging."""
