"""Chapter 1: lines become pulls."""
