"""Run directory, supervisor, leases, metric reader. Never torch."""
