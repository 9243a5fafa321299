"""Execution, streaming and measurement of converted speech models. Knows no model family."""
