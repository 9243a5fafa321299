"""Hydra configuration: data only. The schema is convert/schema.py."""
