"""Models whose score is a sum of terms that can be read off: their terms are the explanation."""
