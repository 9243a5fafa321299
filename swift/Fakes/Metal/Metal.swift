// Stands in for Apple's Metal where there is none, by the names and signatures of its documentation: enough to compile
// what calls it. There is no device, so nothing of it runs.
import Foundation

public enum MTLTextureType: UInt, Sendable {
    case type2D = 2
    case type2DArray = 3
}

public enum MTLPixelFormat: UInt, Sendable { case rgba16Float = 115 }

public struct MTLResourceOptions: OptionSet, Sendable {
    public let rawValue: UInt
    public init(rawValue: UInt) { self.rawValue = rawValue }
    public static let storageModeShared = MTLResourceOptions([])
}

public struct MTLSize: Sendable {
    public var width, height, depth: Int
    public init(width: Int, height: Int, depth: Int) { (self.width, self.height, self.depth) = (width, height, depth) }
}

public protocol MTLTexture: NSObjectProtocol {
    var textureType: MTLTextureType { get }
    var pixelFormat: MTLPixelFormat { get }
    var width: Int { get }
    func makeTextureView(
        pixelFormat: MTLPixelFormat, textureType: MTLTextureType, levels: Range<Int>, slices: Range<Int>
    ) -> (any MTLTexture)?
}

public protocol MTLBuffer: NSObjectProtocol {
    var length: Int { get }
    func contents() -> UnsafeMutableRawPointer
}

public protocol MTLFunction: NSObjectProtocol {}

public protocol MTLComputePipelineState: NSObjectProtocol { var threadExecutionWidth: Int { get } }

public protocol MTLComputeCommandEncoder: NSObjectProtocol {
    func setComputePipelineState(_ state: any MTLComputePipelineState)
    func setTexture(_ texture: (any MTLTexture)?, index: Int)
    func setBuffer(_ buffer: (any MTLBuffer)?, offset: Int, index: Int)
    func setBytes(_ bytes: UnsafeRawPointer, length: Int, index: Int)
    func setThreadgroupMemoryLength(_ length: Int, index: Int)
    func dispatchThreadgroups(_ threadgroupsPerGrid: MTLSize, threadsPerThreadgroup: MTLSize)
    func endEncoding()
}

public protocol MTLCommandBuffer: NSObjectProtocol {
    func makeComputeCommandEncoder() -> (any MTLComputeCommandEncoder)?
    func commit()
    func waitUntilCompleted()
}

public protocol MTLCommandQueue: NSObjectProtocol { func makeCommandBuffer() -> (any MTLCommandBuffer)? }

public final class MTLCompileOptions {}

public protocol MTLLibrary: NSObjectProtocol { func makeFunction(name functionName: String) -> (any MTLFunction)? }

public protocol MTLDevice: NSObjectProtocol {
    func makeCommandQueue() -> (any MTLCommandQueue)?
    func makeComputePipelineState(function computeFunction: any MTLFunction) throws -> any MTLComputePipelineState
    func makeBuffer(bytes pointer: UnsafeRawPointer, length: Int, options: MTLResourceOptions) -> (any MTLBuffer)?
    func makeBuffer(length: Int, options: MTLResourceOptions) -> (any MTLBuffer)?
    func makeLibrary(URL url: URL) throws -> any MTLLibrary
    func makeLibrary(source: String, options: MTLCompileOptions?) throws -> any MTLLibrary
}

public func MTLCreateSystemDefaultDevice() -> (any MTLDevice)? { nil }
