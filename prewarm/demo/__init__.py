"""The story that `prewarm demo` tells, on a synthetic workload with its own in-process origin."""
