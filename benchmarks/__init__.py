"""Measurements that back the figures in the README. Run by command, never by the tests."""
