"""Measurements behind the numbers in the README. Run by command, never by the tests."""
