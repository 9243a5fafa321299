import pytest

from ops.metal import layout
from ops.metal.lint import problems


@pytest.mark.parametrize("name", [layout.TEXTURE, layout.BUFFER])
def test_the_kernels_are_clean(name):
    assert problems(layout.text(name)) == []


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("kernel void f() { threadgroup float tile[32]; }", "threadgroup memory in a body"),
        ("inline double f(double x) { return x; }", "double"),
        ("inline int f(int n) { return n ? f(n - 1) : 0; }", "f calls itself"),
        (
            "inline int g(int n);\ninline int f(int n) { return g(n); }\ninline int g(int n) { return f(n); }",
            "through g",
        ),
        ("inline float f(float x) { return std::max(x, 0.0f); }", "C\\+\\+'s own library"),
        ("inline int f() { auto g = [&](int x) { return x; }; return g(1); }", "lambdas"),
        ("inline int f() { static int n = 0; return n; }", "static variables"),
        ("constexpr int N = 3;", "address space"),
        ("inline void f() { int *p = new int; }", "allocation"),
    ],
)
def test_what_metal_forbids_is_found(line, sentence):
    with pytest.raises(AssertionError, match=sentence):
        assert problems(line) == []


def test_words_in_comments_are_not_code():
    assert problems("// a double new std:: goto\n/* throw */ inline int f() { return 1; }") == []
