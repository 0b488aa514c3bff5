"""One file per model, or per place that models come from. None imports torch before it loads."""
