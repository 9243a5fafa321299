// The buffer form of the upsampling kernel (ops/metal/upsample_buffer.metal) between two parts of an MPSGraph, all of it on
// one command buffer; and beside it the definition of a transposed convolution. On a Mac, in swift/Example:
//
//     swift run UpsampleExample ../../ops/metal
//
// It was compiled over stand-ins of Metal and MPSGraph, and never run.
import Foundation
import Metal
import MetalPerformanceShaders
import MetalPerformanceShadersGraph

/// `struct UpsampleShape` of upsample_core.h: eleven numbers of four bytes.
struct UpsampleShape {
    var channelsIn: Int32 = 64
    var channelsOut: Int32 = 32
    var frames: Int32 = 100
    var samples: Int32 = 800
    var kernelSize: Int32 = 16
    var stride: Int32 = 8
    var padding: Int32 = 4
    var taps: Int32 = 2
    var hasCondition: Int32 = 0
    var slope: Float = 0.1
    var reserved: Int32 = 0
}

struct Failure: LocalizedError {
    let errorDescription: String?
    init(_ text: String) { errorDescription = text }
}

/// y = tanh(upsample(x / 2)): x (C, T) -> y (D, samples).
func onTheGPU(_ x: [Float], _ weight: [Float], _ shape: UpsampleShape, kernels: URL) throws -> [Float] {
    guard let device = MTLCreateSystemDefaultDevice(), let queue = device.makeCommandQueue() else {
        throw Failure("there is no GPU")
    }
    func buffer(_ floats: [Float]) throws -> any MTLBuffer {
        guard let made = device.makeBuffer(bytes: floats, length: 4 * floats.count, options: .storageModeShared) else {
            throw Failure("the GPU has no memory for \(floats.count) numbers")
        }
        return made
    }
    let input = try buffer(x)
    let halved = try buffer([Float](repeating: 0, count: x.count))
    let count = Int(shape.channelsOut * shape.samples)
    let upsampled = try buffer([Float](repeating: 0, count: count))
    let output = try buffer([Float](repeating: 0, count: count))
    let weights = try buffer(packed(weight, shape))
    let bias = try buffer([Float](repeating: 0, count: Int(shape.channelsOut)))

    let inputShape = [NSNumber(value: shape.channelsIn), NSNumber(value: shape.frames)]
    let outputShape = [NSNumber(value: shape.channelsOut), NSNumber(value: shape.samples)]
    func data(_ buffer: any MTLBuffer, _ shape: [NSNumber]) -> MPSGraphTensorData {
        MPSGraphTensorData(buffer, shape: shape, dataType: .float32)
    }
    let graph = MPSGraph()
    let given = graph.placeholder(shape: inputShape, dataType: .float32, name: "x")
    let half = graph.multiplication(given, graph.constant(0.5, dataType: .float32), name: nil)
    let made = graph.placeholder(shape: outputShape, dataType: .float32, name: "upsampled")
    let bounded = graph.tanh(with: made, name: nil)

    let commands = MPSCommandBuffer(from: queue)
    graph.encode(
        to: commands, feeds: [given: data(input, inputShape)], targetOperations: nil,
        resultsDictionary: [half: data(halved, inputShape)], executionDescriptor: nil)
    // The condition is bound always; without one it is not read.
    try encode(to: commands, [halved, halved, upsampled, weights, bias], shape, try pipeline(device, kernels))
    graph.encode(
        to: commands, feeds: [made: data(upsampled, outputShape)], targetOperations: nil,
        resultsDictionary: [bounded: data(output, outputShape)], executionDescriptor: nil)
    commands.commit()
    commands.waitUntilCompleted()
    return Array(UnsafeBufferPointer(start: output.contents().assumingMemoryBound(to: Float.self), count: count))
}

/// A thread for four output channels of one output sample.
func encode(
    to commands: any MTLCommandBuffer, _ buffers: [any MTLBuffer], _ shape: UpsampleShape,
    _ pipeline: any MTLComputePipelineState
) throws {
    guard let encoder = commands.makeComputeCommandEncoder() else { throw Failure("there is no command encoder") }
    var shape = shape
    encoder.setComputePipelineState(pipeline)
    for (index, buffer) in buffers.enumerated() { encoder.setBuffer(buffer, offset: 0, index: index) }
    encoder.setBytes(&shape, length: MemoryLayout<UpsampleShape>.stride, index: buffers.count)
    let width = pipeline.threadExecutionWidth
    encoder.dispatchThreadgroups(
        MTLSize(width: (Int(shape.samples) + width - 1) / width, height: (Int(shape.channelsOut) + 3) / 4, depth: 1),
        threadsPerThreadgroup: MTLSize(width: width, height: 1, depth: 1))
    encoder.endEncoding()
}

func pipeline(_ device: any MTLDevice, _ kernels: URL) throws -> any MTLComputePipelineState {
    func text(_ name: String) throws -> String {
        try String(contentsOf: kernels.appendingPathComponent(name), encoding: .utf8)
    }
    // Metal compiles a single text.
    let core = try text("upsample_core.h").replacingOccurrences(of: "#pragma once", with: "")
    let source = try text("upsample_buffer.metal").replacingOccurrences(of: "#include \"upsample_core.h\"", with: core)
    let library = try device.makeLibrary(source: source, options: nil)
    guard let function = library.makeFunction(name: "upsample_plain_float") else {
        throw Failure("the library has no upsample_plain_float")
    }
    return try device.makeComputePipelineState(function: function)
}

/// (C, D, K) -> (ceil(D / 4), K, C, 4), as `packed_weights` of ops/metal/layout.py.
func packed(_ weight: [Float], _ shape: UpsampleShape) -> [Float] {
    let (inputs, outputs, taps) = (Int(shape.channelsIn), Int(shape.channelsOut), Int(shape.kernelSize))
    var packed = [Float](repeating: 0, count: (outputs + 3) / 4 * taps * inputs * 4)
    for input in 0..<inputs {
        for output in 0..<outputs {
            for tap in 0..<taps {
                let place = (output / 4 * taps + tap) * inputs + input
                packed[4 * place + output % 4] = weight[(input * outputs + output) * taps + tap]
            }
        }
    }
    return packed
}

/// The same by definition, in double precision.
func byDefinition(_ x: [Float], _ weight: [Float], _ shape: UpsampleShape) -> [Float] {
    let (inputs, outputs, taps) = (Int(shape.channelsIn), Int(shape.channelsOut), Int(shape.kernelSize))
    let (frames, samples) = (Int(shape.frames), Int(shape.samples))
    var y = [Double](repeating: 0, count: outputs * samples)
    for input in 0..<inputs {
        for frame in 0..<frames {
            let half = 0.5 * Double(x[input * frames + frame])
            let active = half >= 0 ? half : half * Double(shape.slope)
            for tap in 0..<taps {
                let sample = frame * Int(shape.stride) + tap - Int(shape.padding)
                guard (0..<samples).contains(sample) else { continue }
                for output in 0..<outputs {
                    y[output * samples + sample] += active * Double(weight[(input * outputs + output) * taps + tap])
                }
            }
        }
    }
    return y.map { Float(tanh($0)) }
}

let shape = UpsampleShape()
let x = (0..<Int(shape.channelsIn * shape.frames)).map { Float(sin(Double($0) * 0.7)) }
let weight = (0..<Int(shape.channelsIn * shape.channelsOut * shape.kernelSize)).map {
    Float(cos(Double($0) * 1.3)) / 16
}
do {
    guard CommandLine.arguments.count == 2 else { throw Failure("name the folder of the kernels: ops/metal") }
    let kernels = URL(fileURLWithPath: CommandLine.arguments[1])
    let y = try onTheGPU(x, weight, shape, kernels: kernels)
    let worst = zip(y, byDefinition(x, weight, shape)).map { abs($0 - $1) }.max() ?? 0
    print("worst difference from the definition: \(worst)")
    exit(worst < 1e-4 ? 0 : 1)
} catch {
    print(error.localizedDescription)
    exit(2)
}
