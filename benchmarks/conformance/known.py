"""Why a failing case fails, where somebody looked."""

from __future__ import annotations

from benchmarks.conformance.results import Case

# Part of a case's name or reason -> why it does not pass. What else fails is a defect that nobody has looked at.
KNOWN_FAILURES = {
    "::TestFill::test_builder_to_backend_symbolic": "coremltools' own loader has no variadic dimensions",
    "activation data type QUInt8": "PyTorch's qnnpack takes no qint8 activations on x86",
    "input data type QUInt8": "PyTorch's qnnpack takes no qint8 activations on x86",
    "TestIndex::test_index_bool_indices": (
        "compares random float32 inputs with 0.5, and an input that half precision rounds to 0.5 counts otherwise"
    ),
    "::TestLinspace::test_linspace_dynamic": "a slice squeezed to a scalar keeps an axis, as the specification says",
    "assign_dynamic_slice": "a slice squeezed to a scalar keeps an axis, as the specification says",
    "::TestStack::test_stack_dynamic_range_dim": (
        "wants a network refused when it is loaded, of which default sizes do not fit together; the engine looks at "
        "sizes when it runs"
    ),
    "test_multiarray_to_image_input_util_transpose_elimination": (
        "describes its output with other axes than its network gives, and wants those described"
    ),
    "::TestSliceByIndex::test_efficient_type_inference": "measures the time of coremltools' own conversion",
    "NewLayersSimpleTest::test_topk_": "compares the places of equal numbers with NumPy's sort, which is not stable",
    "running_mean and running_var must either both": "PyTorch 2.13 refuses the test's own module",
}


def known_reason(case: Case) -> str | None:
    """Why a failed case does not pass, where that is known."""
    text = f"{case.name} {case.reason}"
    return next((reason for part, reason in KNOWN_FAILURES.items() if part in text), None)
