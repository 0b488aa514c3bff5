"""Clever Hans: models that are right for the wrong reason, and explanations that expose them.

`notice` is a shortcut that was found in the built-in network; `tag` is one planted in a data set.
"""
