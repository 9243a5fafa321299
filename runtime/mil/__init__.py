"""The reference engine: executes the MIL program and weight blob saved in an `.mlpackage`, on any platform."""
