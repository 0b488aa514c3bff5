"""The attribution methods, one file per family. A class defined here is known by its name."""
