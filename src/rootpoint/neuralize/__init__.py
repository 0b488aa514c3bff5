"""Models that are no networks, as networks that compute the same."""
