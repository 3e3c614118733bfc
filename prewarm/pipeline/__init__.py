"""One function per verb, one module each, in a room for each chapter: the only place that wires."""
