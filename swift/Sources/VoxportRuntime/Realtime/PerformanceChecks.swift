#if !hasAttribute(_noAllocation)
    /// What is called where the compiler proves that nothing is allocated and nothing locked. A compiler without that
    /// proof needs no exception to it either.
    @inline(__always) package func _unsafePerformance<Result>(_ body: () -> Result) -> Result { body() }
#endif
