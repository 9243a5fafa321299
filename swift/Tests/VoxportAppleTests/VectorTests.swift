import Foundation
import Testing

@testable import VoxportRuntime

/// The spectrum by vDSP's conventions beside the one by definition.
@Suite struct Vectors {
    @Test(arguments: [16, 256, 1024, 2048, 400, 800]) func theSpectrumIsThatOfTheDefinition(size: Int) {
        let samples = (0..<size).map { Float(sin(Double($0 * $0) * 0.37)) }
        let fft = RealFFT(size: size)
        defer { fft.deallocate() }
        var power = [Float](repeating: .nan, count: size / 2 + 1)
        fft.power(of: samples, into: &power)
        for k in 0...size / 2 {
            var (re, im) = (0.0, 0.0)
            for (n, sample) in samples.enumerated() {
                let angle = 2 * Double.pi * Double(n * k % size) / Double(size)
                re += Double(sample) * cos(angle)
                im -= Double(sample) * sin(angle)
            }
            #expect(abs(Double(power[k]) - re * re - im * im) < 1e-4 * Double(size))
        }
        #expect((VectorFFT(size: size) == nil) == (size % 400 == 0))
    }
}
