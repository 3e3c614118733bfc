"""One function per verb, one module each: the only place that wires."""
