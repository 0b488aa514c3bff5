"""Whether an explanation can be trusted: metrics, evaluations, selection of a method."""
