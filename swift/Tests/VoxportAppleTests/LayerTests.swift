import CoreML
import Foundation
import Testing

@testable import HiFiGANUpsample
@testable import VoxportRuntime

/// Core ML's custom layer, as Core ML calls it, over a fake of Accelerate and without a GPU.
@Suite struct CustomLayer {
    private var parameters: [String: Any] {
        [
            "channels_in": NSNumber(value: 3), "channels_out": NSNumber(value: 5), "kernel_size": NSNumber(value: 4),
            "stride": NSNumber(value: 2), "padding": NSNumber(value: 1), "output_padding": NSNumber(value: 1),
            "slope": NSNumber(value: 0.25),
        ]
    }

    private func wave(_ count: Int, _ step: Double) -> [Float] { (0..<count).map { Float(sin(Double($0) * step)) } }

    /// Each output sample by the definition of a transposed convolution, in double precision.
    private func reference(_ x: [Float], _ condition: [Float], _ w: [Float], _ b: [Float], frames: Int) -> [Float] {
        let length = (frames - 1) * 2 - 2 + 4 + 1
        var y = (0..<5 * length).map { Double(b[$0 / length]) }
        for input in 0..<3 {
            for frame in 0..<frames {
                let sum = Double(x[input * frames + frame] + condition[input])
                let active = sum >= 0 ? sum : 0.25 * sum
                for output in 0..<5 {
                    for tap in 0..<4 {
                        let sample = frame * 2 + tap - 1
                        guard (0..<length).contains(sample) else { continue }
                        y[output * length + sample] += active * Double(w[(input * 5 + output) * 4 + tap])
                    }
                }
            }
        }
        return y.map(Float.init)
    }

    private func array(_ values: [Float], _ shape: [Int], _ type: MLMultiArrayDataType) -> MLMultiArray {
        let array = MLMultiArray(shape, type, paddedTo: 32)
        let row = shape.last!
        let step = array.strides[shape.count - 2].intValue
        for (index, value) in values.enumerated() {
            let place = index / row * step + index % row
            if type == .float16 {
                array.dataPointer.assumingMemoryBound(to: UInt16.self)[place] = HalfPrecision.bits(value)
            } else {
                array.dataPointer.assumingMemoryBound(to: Float.self)[place] = value
            }
        }
        return array
    }

    private func values(_ array: MLMultiArray) -> [Float] {
        let shape = array.shape.map(\.intValue)
        let step = array.strides[shape.count - 2].intValue
        return (0..<shape.reduce(1, *)).map { index in
            let place = index / shape.last! * step + index % shape.last!
            if array.dataType == .float16 {
                return HalfPrecision.float(array.dataPointer.assumingMemoryBound(to: UInt16.self)[place])
            }
            return array.dataPointer.assumingMemoryBound(to: Float.self)[place]
        }
    }

    @Test(arguments: [MLMultiArrayDataType.float32, .float16])
    func itIsATransposedConvolutionThroughArraysWithGaps(type: MLMultiArrayDataType) throws {
        let weight = wave(3 * 5 * 4, 0.7)
        let bias = wave(5, 1.3)
        let layer = try HiFiGANUpsample(parameters: parameters)
        try layer.setWeightData([weight, bias].map { $0.withUnsafeBytes { Data($0) } })
        let (x, condition) = (wave(3 * 7, 0.4), wave(3, 2))
        let shapes = try layer.outputShapes(forInputShapes: [[1, 3, 1, 7]])
        #expect(shapes == [[1, 5, 1, 15]])
        let output = array([], [1, 5, 1, 15], type)
        try layer.evaluate(
            inputs: [array(x, [1, 3, 1, 7], type), array(condition, [1, 3, 1, 1], type)], outputs: [output])
        let wanted = reference(x, condition, weight, bias, frames: 7)
        let worst = zip(values(output), wanted).map { abs($0 - $1) }.max()!
        #expect(worst < (type == .float16 ? 0.01 : 1e-5))
    }

    @Test func weightsInHalfPrecisionAreTheirSingles() throws {
        let weight = wave(3 * 5 * 4, 0.7).map(HalfPrecision.bits)
        let bias = wave(5, 1.3).map(HalfPrecision.bits)
        let layer = try HiFiGANUpsample(parameters: parameters)
        try layer.setWeightData([weight, bias].map { $0.withUnsafeBytes { Data($0) } })
        let single = try HiFiGANUpsample(parameters: parameters)
        try single.setWeightData([weight, bias].map { $0.map(HalfPrecision.float).withUnsafeBytes { Data($0) } })
        let x = wave(3 * 7, 0.4)
        #expect(
            layer.evaluate(x, frames: 7, condition: nil) == single.evaluate(x, frames: 7, condition: nil))
        #expect(layer.packedWeights() == single.packedWeights())
        #expect(throws: UpsampleError.self) { try layer.setWeightData([Data(count: 3), Data(count: 5)]) }
    }

    @Test func theLayersHalfPrecisionIsTheRuntimes() {
        for bits in UInt16.min...UInt16.max {
            let value = Half.float(bits)
            #expect(value.isNaN ? HalfPrecision.float(bits).isNaN : value == HalfPrecision.float(bits))
        }
        for index in 0..<20_000 {
            let value = Float(sin(Double(index))) * Float(sign: .plus, exponent: index % 45 - 27, significand: 1)
            #expect(Half.bits(value) == HalfPrecision.bits(value))
        }
        #expect(Half.bits(.infinity) == 0x7C00 && Half.bits(-65520) == 0xFC00 && Half.bits(.nan) & 0x7FFF > 0x7C00)
    }

    @Test func whatDoesNotFitIsRefused() throws {
        let layer = try HiFiGANUpsample(parameters: parameters)
        #expect(throws: UpsampleError.self) { try HiFiGANUpsample(parameters: [:]) }
        #expect(throws: UpsampleError.self) { try layer.outputShapes(forInputShapes: [[1, 3]]) }
    }
}
