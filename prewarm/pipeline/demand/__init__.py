"""The lake's pulls become forecasts and rankings, and models are scored on them."""
