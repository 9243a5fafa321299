// Stands in for Apple's MetalPerformanceShadersGraph where there is none, by the names and signatures of its documentation:
// what the examples name. Nothing of it runs.
import Foundation
import MetalPerformanceShaders

public class MPSGraphTensor: NSObject {}
public class MPSGraphOperation: NSObject {}
public class MPSGraphExecutionDescriptor: NSObject {}

public class MPSGraphTensorData: NSObject {
    public init(_ buffer: any MTLBuffer, shape: [NSNumber], dataType: MPSDataType) {}
}

public class MPSGraph: NSObject {
    public func placeholder(shape: [NSNumber]?, dataType: MPSDataType, name: String?) -> MPSGraphTensor {
        MPSGraphTensor()
    }
    public func constant(_ scalar: Double, dataType: MPSDataType) -> MPSGraphTensor { MPSGraphTensor() }
    public func multiplication(
        _ primaryTensor: MPSGraphTensor, _ secondaryTensor: MPSGraphTensor, name: String?
    ) -> MPSGraphTensor { MPSGraphTensor() }
    public func tanh(with tensor: MPSGraphTensor, name: String?) -> MPSGraphTensor { MPSGraphTensor() }
    public func encode(
        to commandBuffer: MPSCommandBuffer, feeds: [MPSGraphTensor: MPSGraphTensorData],
        targetOperations: [MPSGraphOperation]?, resultsDictionary: [MPSGraphTensor: MPSGraphTensorData],
        executionDescriptor: MPSGraphExecutionDescriptor?
    ) {}
}
