"""Plots, the HTML report and MLflow: what people look at. Uses `runtime` only."""
