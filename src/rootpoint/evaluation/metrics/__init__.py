"""The metrics, one file per family; each is found by its name."""
