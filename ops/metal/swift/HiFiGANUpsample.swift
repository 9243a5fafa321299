// Core ML's custom layer HiFiGANUpsample: y = conv_transpose1d(leaky_relu(x [+ c], slope), w) + b on (1, C, 1, T).
//
// Written against the MLCustomLayer protocol of macOS 12 and later; not compiled and not run on a Mac yet. What it computes
// with is tested in voxport without one: the kernel's text is run as C++ against PyTorch, the functions marked "twin" have a
// Python function of the same name in ops/metal/layout.py or ops/metal/twin.py that is, and the class is compiled and its
// CPU's way run over stand-ins of the frameworks (swift/Fakes).
import Accelerate
import CoreML
import Foundation
import Metal

/// What a host tells the kernels, as `struct UpsampleShape` in upsample_core.h: eleven numbers of four bytes.
struct UpsampleShape {
    var channelsIn: Int32
    var channelsOut: Int32
    var frames: Int32
    var samples: Int32
    var kernelSize: Int32
    var stride: Int32
    var padding: Int32
    var taps: Int32
    var hasCondition: Int32
    var slope: Float
    var reserved: Int32
}

enum UpsampleError: LocalizedError {
    case parameter(String)
    case weights(String)
    case shape(String)
    case device(String)

    var errorDescription: String? {
        switch self {
        case .parameter(let text), .weights(let text), .shape(let text), .device(let text):
            return "HiFiGANUpsample: \(text)"
        }
    }
}

#if canImport(ObjectiveC)
    @objc(HiFiGANUpsample)
#endif
public final class HiFiGANUpsample: NSObject, MLCustomLayer {
    private let channelsIn: Int
    private let channelsOut: Int
    private let kernelSize: Int
    private let stride: Int
    private let padding: Int
    private let outputPadding: Int
    private let slope: Float
    private var weight: [Float] = []  // (C, D, K)
    private var bias: [Float] = []  // (D,)
    private var gpu: Pipeline?

    public required init(parameters: [String: Any]) throws {
        func whole(_ name: String, atLeast least: Int) throws -> Int {
            guard let value = (parameters[name] as? NSNumber)?.intValue, value >= least else {
                throw UpsampleError.parameter("\(name) is missing or below \(least)")
            }
            return value
        }
        channelsIn = try whole("channels_in", atLeast: 1)
        channelsOut = try whole("channels_out", atLeast: 1)
        kernelSize = try whole("kernel_size", atLeast: 1)
        stride = try whole("stride", atLeast: 1)
        padding = try whole("padding", atLeast: 0)
        outputPadding = try whole("output_padding", atLeast: 0)
        guard let slope = (parameters["slope"] as? NSNumber)?.floatValue else {
            throw UpsampleError.parameter("slope is missing")
        }
        self.slope = slope
        super.init()
    }

    /// Weights (C, D, K), then bias (D,), each in single or half precision: their length tells.
    public func setWeightData(_ weights: [Data]) throws {
        guard weights.count == 2 else {
            throw UpsampleError.weights("\(weights.count) arrays, not weights and bias")
        }
        weight = try HiFiGANUpsample.floats(weights[0], count: channelsIn * channelsOut * kernelSize)
        bias = try HiFiGANUpsample.floats(weights[1], count: channelsOut)
        // Without a GPU, or where it refuses the kernel, Core ML evaluates on the CPU.
        gpu = try? Pipeline(weights: packedWeights(), bias: packedBias())
    }

    /// Also asked with zeros, before any size is known.
    public func outputShapes(forInputShapes inputShapes: [[NSNumber]]) throws -> [[NSNumber]] {
        guard var shape = inputShapes.first, shape.count >= 3 else {
            throw UpsampleError.shape("the input has fewer than three axes")
        }
        let frames = shape[shape.count - 1].intValue
        shape[shape.count - 3] = NSNumber(value: channelsOut)
        shape[shape.count - 1] = NSNumber(value: frames > 0 ? samples(frames) : 0)
        return [shape]
    }

    // MARK: CPU

    public func evaluate(inputs: [MLMultiArray], outputs: [MLMultiArray]) throws {
        let x = try matrix(inputs[0], channels: channelsIn)
        let condition = try inputs.count > 1 ? matrix(inputs[1], channels: channelsIn).values : nil
        let y = evaluate(x.values, frames: x.length, condition: condition)
        try fill(outputs[0], with: y, channels: channelsOut)
    }

    /// x (C, T), condition (C,) -> y (D, samples). Twin: ops/metal/twin.py, `evaluate`.
    ///
    /// One matrix product per kernel tap k: all positions i of (w[:, :, k])^T x, added to the samples i * S + k - P.
    func evaluate(_ given: [Float], frames: Int, condition: [Float]?) -> [Float] {
        let length = samples(frames)
        var x = given
        for channel in 0..<channelsIn {
            for position in 0..<frames {
                let value = x[channel * frames + position] + (condition?[channel] ?? 0)
                x[channel * frames + position] = value >= 0 ? value : value * slope
            }
        }
        var y = [Float](repeating: 0, count: channelsOut * length)
        for channel in 0..<channelsOut {
            for sample in 0..<length { y[channel * length + sample] = bias[channel] }
        }
        var tap = [Float](repeating: 0, count: channelsIn * channelsOut)
        var product = [Float](repeating: 0, count: channelsOut * frames)
        for k in 0..<kernelSize {
            let positions = HiFiGANUpsample.positions(
                tap: k, frames: frames, samples: length, stride: stride, padding: padding)
            if positions.isEmpty { continue }
            for index in 0..<(channelsIn * channelsOut) { tap[index] = weight[index * kernelSize + k] }
            cblas_sgemm(
                CblasRowMajor, CblasTrans, CblasNoTrans, Int32(channelsOut), Int32(frames), Int32(channelsIn), 1,
                tap, Int32(channelsOut), x, Int32(frames), 0, &product, Int32(frames))
            for channel in 0..<channelsOut {
                for position in positions {
                    y[channel * length + position * stride + k - padding] += product[channel * frames + position]
                }
            }
        }
        return y
    }

    /// The input positions i whose sample i * S + k - P lies within the output. Twin: ops/metal/twin.py, `positions`.
    static func positions(tap: Int, frames: Int, samples: Int, stride: Int, padding: Int) -> Range<Int> {
        let shift = tap - padding
        let first = shift >= 0 ? 0 : (-shift + stride - 1) / stride
        let beyond = samples - shift  // i * S must stay below it
        let last = beyond <= 0 ? 0 : min(frames, (beyond + stride - 1) / stride)
        return first..<max(first, last)
    }

    /// Twin: `UpsampleShape.samples`.
    func samples(_ frames: Int) -> Int {
        (frames - 1) * stride - 2 * padding + kernelSize + outputPadding
    }

    // MARK: GPU

    public func encode(commandBuffer: MTLCommandBuffer, inputs: [MTLTexture], outputs: [MTLTexture]) throws {
        guard let gpu = gpu else { throw UpsampleError.device("the kernel could not be made on this GPU") }
        let x = try HiFiGANUpsample.array(inputs[0])
        let y = try HiFiGANUpsample.array(outputs[0])
        let condition = try inputs.count > 1 ? HiFiGANUpsample.array(inputs[1]) : x  // bound always, read with a condition
        guard y.width == samples(x.width) else {
            throw UpsampleError.shape("\(x.width) frames give \(samples(x.width)) samples, not \(y.width)")
        }
        guard let encoder = commandBuffer.makeComputeCommandEncoder() else {
            throw UpsampleError.device("no command encoder")
        }
        var shape = UpsampleShape(
            channelsIn: Int32(channelsIn), channelsOut: Int32(channelsOut), frames: Int32(x.width),
            samples: Int32(y.width), kernelSize: Int32(kernelSize), stride: Int32(stride), padding: Int32(padding),
            taps: Int32((kernelSize + stride - 1) / stride), hasCondition: inputs.count > 1 ? 1 : 0, slope: slope,
            reserved: 0)
        encoder.setComputePipelineState(gpu.state)
        encoder.setTexture(x, index: 0)
        encoder.setTexture(condition, index: 1)
        encoder.setTexture(y, index: 2)
        encoder.setBuffer(gpu.weights, offset: 0, index: 0)
        encoder.setBuffer(gpu.bias, offset: 0, index: 1)
        encoder.setBytes(&shape, length: MemoryLayout<UpsampleShape>.stride, index: 2)
        let width = gpu.state.threadExecutionWidth
        encoder.dispatchThreadgroups(
            MTLSize(width: (y.width + width - 1) / width, height: 1, depth: (channelsOut + 3) / 4),
            threadsPerThreadgroup: MTLSize(width: width, height: 1, depth: 1))
        encoder.endEncoding()  // never committed here: the buffer is Core ML's
    }

    /// (C, D, K) -> (ceil(D / 4), K, C, 4) in half, by its bits. Twin: `packed_weights`.
    func packedWeights() -> [UInt16] {
        let quads = (channelsOut + 3) / 4
        var packed = [UInt16](repeating: 0, count: quads * kernelSize * channelsIn * 4)
        for channelIn in 0..<channelsIn {
            for channelOut in 0..<channelsOut {
                for k in 0..<kernelSize {
                    let target = (((channelOut / 4) * kernelSize + k) * channelsIn + channelIn) * 4 + channelOut % 4
                    packed[target] = Half.bits(weight[(channelIn * channelsOut + channelOut) * kernelSize + k])
                }
            }
        }
        return packed
    }

    /// Twin: `packed_bias`.
    func packedBias() -> [Float] {
        bias + [Float](repeating: 0, count: (4 - channelsOut % 4) % 4)
    }

    /// Up to four channels Core ML may hand over a plain texture: seen as an array of one slice.
    private static func array(_ texture: MTLTexture) throws -> MTLTexture {
        if texture.textureType == .type2DArray { return texture }
        guard
            let view = texture.makeTextureView(
                pixelFormat: texture.pixelFormat, textureType: .type2DArray, levels: 0..<1, slices: 0..<1)
        else { throw UpsampleError.device("a texture of type \(texture.textureType.rawValue) has no array view") }
        return view
    }

    // MARK: Arrays

    private static func floats(_ data: Data, count: Int) throws -> [Float] {
        if data.count == 4 * count {
            var values = [Float](repeating: 0, count: count)
            _ = values.withUnsafeMutableBytes { data.copyBytes(to: $0) }
            return values
        }
        guard data.count == 2 * count else {
            throw UpsampleError.weights("\(data.count) bytes for \(count) numbers of two or four bytes")
        }
        var halves = [UInt16](repeating: 0, count: count)
        _ = halves.withUnsafeMutableBytes { data.copyBytes(to: $0) }
        return halves.map(Half.float)
    }

    /// (…, C, 1, T) with any strides -> rows of T.
    private func matrix(_ array: MLMultiArray, channels: Int) throws -> (values: [Float], length: Int) {
        let (offsets, length) = try HiFiGANUpsample.offsets(array, channels: channels)
        switch array.dataType {
        case .float32:
            let pointer = array.dataPointer.assumingMemoryBound(to: Float.self)
            return (offsets.map { pointer[$0] }, length)
        case .float16:
            let pointer = array.dataPointer.assumingMemoryBound(to: UInt16.self)
            return (offsets.map { Half.float(pointer[$0]) }, length)
        default:
            throw UpsampleError.shape("arrays of type \(array.dataType.rawValue) are not read")
        }
    }

    private func fill(_ array: MLMultiArray, with values: [Float], channels: Int) throws {
        let (offsets, _) = try HiFiGANUpsample.offsets(array, channels: channels)
        guard offsets.count == values.count else {
            throw UpsampleError.shape("\(values.count) numbers for \(offsets.count) places")
        }
        switch array.dataType {
        case .float32:
            let pointer = array.dataPointer.assumingMemoryBound(to: Float.self)
            for (index, offset) in offsets.enumerated() { pointer[offset] = values[index] }
        case .float16:
            let pointer = array.dataPointer.assumingMemoryBound(to: UInt16.self)
            for (index, offset) in offsets.enumerated() { pointer[offset] = Half.bits(values[index]) }
        default:
            throw UpsampleError.shape("arrays of type \(array.dataType.rawValue) are not written")
        }
    }

    private static func offsets(_ array: MLMultiArray, channels: Int) throws -> (offsets: [Int], length: Int) {
        let shape = array.shape.map(\.intValue)
        let strides = array.strides.map(\.intValue)
        let rank = shape.count
        guard rank >= 3, shape[rank - 3] == channels, shape.reduce(1, *) == channels * shape[rank - 1] else {
            throw UpsampleError.shape("an array of \(shape), not (1, \(channels), 1, T)")
        }
        var offsets: [Int] = []
        offsets.reserveCapacity(channels * shape[rank - 1])
        for channel in 0..<channels {
            for position in 0..<shape[rank - 1] {
                offsets.append(channel * strides[rank - 3] + position * strides[rank - 1])
            }
        }
        return (offsets, shape[rank - 1])
    }
}

/// Half precision by its bits, as Intel's Macs have no Float16. Rounds to the nearest, ties to even.
enum Half {
    static func float(_ bits: UInt16) -> Float {
        let sign = UInt32(bits & 0x8000) << 16
        let exponent = UInt32(bits >> 10) & 0x1F
        let fraction = UInt32(bits & 0x3FF)
        // Below the normal numbers are steps of 2^-24.
        if exponent == 0 { return Float(bitPattern: sign | (Float(fraction) * 0x1p-24).bitPattern) }
        return Float(bitPattern: sign | (exponent == 0x1F ? 0xFF : exponent + 112) << 23 | fraction << 13)
    }

    static func bits(_ value: Float) -> UInt16 {
        let sign = UInt16(value.bitPattern >> 16 & 0x8000)
        if value.isNaN { return sign | 0x7E00 }
        let size = value.magnitude
        if size >= 65520 { return sign | 0x7C00 }  // rounds beyond the largest number
        if size < 0x1p-14 { return sign | UInt16((size * 0x1p24).rounded(.toNearestOrEven)) }
        // Half a step more, less one bit where the last bit that is kept is even.
        let rounded = size.bitPattern + 0xFFF + (size.bitPattern >> 13 & 1)
        return sign | UInt16((rounded >> 13) - (112 << 10))
    }
}

/// The kernel on a device, with its weights.
private final class Pipeline {
    let state: MTLComputePipelineState
    let weights: MTLBuffer
    let bias: MTLBuffer

    init(weights packed: [UInt16], bias packedBias: [Float]) throws {
        guard let device = MTLCreateSystemDefaultDevice() else { throw UpsampleError.device("there is no GPU") }
        guard let function = try Pipeline.library(device).makeFunction(name: "upsample_texture") else {
            throw UpsampleError.device("the library has no upsample_texture")
        }
        state = try device.makeComputePipelineState(function: function)
        guard
            let weights = device.makeBuffer(
                bytes: packed, length: packed.count * MemoryLayout<UInt16>.stride, options: .storageModeShared),
            let bias = device.makeBuffer(
                bytes: packedBias, length: packedBias.count * MemoryLayout<Float>.stride, options: .storageModeShared)
        else { throw UpsampleError.device("no memory for the weights") }
        self.weights = weights
        self.bias = bias
    }

    /// HiFiGANUpsample.metallib where the app brings it, compiled beforehand; else the text, compiled now.
    private static func library(_ device: MTLDevice) throws -> MTLLibrary {
        let own = Bundle(for: HiFiGANUpsample.self)
        if let compiled = own.url(forResource: "HiFiGANUpsample", withExtension: "metallib") {
            return try device.makeLibrary(URL: compiled)
        }
        return try device.makeLibrary(source: kernelText, options: nil)
    }
}
