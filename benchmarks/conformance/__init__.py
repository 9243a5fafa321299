"""Conformance: coremltools' own test-suite, its numeric half switched on and executed by voxport's engines.

coremltools' tests convert a model, and where they find Core ML they also predict with it and compare with PyTorch or
NumPy. Off a Mac that half is skipped; here `enable_predict()` takes its place. Upstream's own skips and expected
failures stay. Engines `mil` and `onnx` run the cases of ML programs, `neuralnetwork` those of the format before them.

    python -m benchmarks.conformance --help         # run it; `make conformance` runs all of it
    python -m benchmarks.conformance.mutation       # break every op on purpose: a case must fail
"""
