// Stands in for Apple's MetalPerformanceShaders where there is none, by the names and signatures of its documentation: what
// the examples name. Nothing of it runs.
import Foundation
@_exported import Metal

public enum MPSDataType: UInt32, Sendable {
    case float32 = 0x1000_0020
    case float16 = 0x1000_0010
}

public class MPSCommandBuffer: NSObject, MTLCommandBuffer {
    public convenience init(from commandQueue: any MTLCommandQueue) { self.init() }
    public func makeComputeCommandEncoder() -> (any MTLComputeCommandEncoder)? { nil }
    public func commit() {}
    public func waitUntilCompleted() {}
}
