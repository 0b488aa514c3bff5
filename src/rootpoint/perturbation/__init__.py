"""What perturbation methods share: features, replacements, and scores of what is left."""
