import Foundation

/// The magnitude spectrum of a window, `magnitudeFloor` added under the square root.
struct LinearKernel: FrameKernel {
    private let size: Int
    private let floor: Float
    private let fft: RealFFT
    private let window: [Float]
    private let windowed: UnsafeMutablePointer<Float>
    private let power: UnsafeMutablePointer<Float>

    init(_ features: Linear) {
        size = features.nFft
        floor = Float(features.magnitudeFloor)
        fft = RealFFT(size: size)
        window = hannWindow(size: size, length: features.winLength)
        windowed = .allocate(capacity: size)
        power = .allocate(capacity: size / 2 + 1)
        windowed.initialize(repeating: 0, count: size)
        power.initialize(repeating: 0, count: size / 2 + 1)
    }

    func deallocate() {
        fft.deallocate()
        windowed.deallocate()
        power.deallocate()
    }

    func frame(of samples: UnsafePointer<Float>, number: Int, into column: UnsafeMutablePointer<Float>, stride: Int) {
        for index in 0..<size { windowed[index] = samples[index] * window[index] }
        fft.power(of: windowed, into: power)
        for bin in 0...size / 2 { column[bin * stride] = (power[bin] + floor).squareRoot() }
    }
}

/// 20 log10 of the root mean square of a window.
struct LevelKernel: FrameKernel {
    let features: Level

    func deallocate() {}

    func frame(of samples: UnsafePointer<Float>, number: Int, into column: UnsafeMutablePointer<Float>, stride: Int) {
        var energy = 0.0
        for index in 0..<features.nFft { energy += Double(samples[index]) * Double(samples[index]) }
        let power = max(energy / Double(features.nFft), pow(10, features.floorDb / 10))
        column[0] = Float(10 * log10(power))
    }
}

/// The fundamental frequency by YIN (de Cheveigne and Kawahara 2002, steps 2 to 5); 0 where it is unvoiced.
struct PitchKernel: FrameKernel {
    let features: Pitch
    private let longest: Int
    private let shortest: Int
    private let difference: UnsafeMutablePointer<Double>

    init(_ features: Pitch) {
        self.features = features
        longest = Int(Double(features.sampleRate) / features.fmin)
        shortest = max(2, Int(Double(features.sampleRate) / features.fmax))
        difference = .allocate(capacity: longest + 1)
        difference.initialize(repeating: 1, count: longest + 1)
    }

    func deallocate() { difference.deallocate() }

    func frame(of samples: UnsafePointer<Float>, number: Int, into column: UnsafeMutablePointer<Float>, stride: Int) {
        normaliseDifference(samples)
        column[0] = Float(frequency)
    }

    /// d'(lag) of equation 8, over the samples that the longest period leaves of a window.
    private func normaliseDifference(_ samples: UnsafePointer<Float>) {
        let head = features.nFft - longest
        var energy = 0.0
        for index in 0..<head { energy += Double(samples[index]) * Double(samples[index]) }
        let silence = 1e-12 * max(energy, 1e-12) * Double(head)
        var total = 0.0
        difference[0] = 1
        for lag in 1...longest {
            var sum = 0.0
            for index in 0..<head {
                let step = Double(samples[index]) - Double(samples[index + lag])
                sum += step * step
            }
            total += sum
            difference[lag] = total <= silence ? 1 : sum * Double(lag) / total
        }
    }

    private var frequency: Double {
        guard let dip = (shortest..<longest).first(where: { difference[$0] < features.threshold }) else { return 0 }
        // From the dip on, the first lag after which it rises.
        let period = (dip..<longest).first { difference[$0] <= difference[$0 + 1] } ?? longest - 1
        let before = difference[period - 1]
        let here = difference[period]
        let after = difference[period + 1]
        let curvature = before - 2 * here + after
        let shift = curvature > 0 ? 0.5 * (before - after) / curvature : 0
        return Double(features.sampleRate) / (Double(period) + min(max(shift, -0.5), 0.5))
    }
}

/// Bands of several spectra, evenly spaced in log frequency, and whether there is a sound.
struct LogBandsKernel: FrameKernel {
    private let features: LogBands
    private let spectra: [(fft: RealFFT, window: [Float], basis: [[Float]])]
    private let windowed: UnsafeMutablePointer<Float>
    private let power: UnsafeMutablePointer<Float>
    private let longest: Int

    init(_ features: LogBands) {
        self.features = features
        let longest = features.windows.max()!
        self.longest = longest
        spectra = features.windows.map { size in
            (RealFFT(size: size), hannWindow(size: size, length: size), Self.basis(features, size))
        }
        windowed = .allocate(capacity: longest)
        power = .allocate(capacity: longest / 2 + 1)
        windowed.initialize(repeating: 0, count: longest)
        power.initialize(repeating: 0, count: longest / 2 + 1)
    }

    func deallocate() {
        for spectrum in spectra { spectrum.fft.deallocate() }
        windowed.deallocate()
        power.deallocate()
    }

    func frame(of samples: UnsafePointer<Float>, number: Int, into column: UnsafeMutablePointer<Float>, stride: Int) {
        var row = 0
        for spectrum in spectra {
            let size = spectrum.fft.size
            let start = (longest - size) / 2
            for index in 0..<size { windowed[index] = samples[start + index] * spectrum.window[index] }
            spectrum.fft.power(of: windowed, into: power)
            for bin in 0...size / 2 { power[bin] = power[bin].squareRoot() }
            for weights in spectrum.basis {
                var amplitude: Float = 0
                for bin in 0...size / 2 where weights[bin] != 0 { amplitude += weights[bin] * power[bin] }
                column[row * stride] = log(amplitude + Float(features.amplitudeFloor))
                row += 1
            }
        }
        var loudest: Float = 0
        for index in longest / 2..<longest / 2 + features.hopLength { loudest = max(loudest, abs(samples[index])) }
        column[row * stride] = Double(loudest) >= features.silence ? 1 : 0
    }

    /// Triangles in Hz whose weights sum to one; a band between two bins is the nearest of them.
    private static func basis(_ features: LogBands, _ size: Int) -> [[Float]] {
        let bins = (0...size / 2).map { Double($0) * Double(features.sampleRate) / Double(size) }
        func edge(_ band: Int) -> Double {
            features.fmin * pow(features.fmax / features.fmin, Double(band) / Double(features.bandsToFmax - 1))
        }
        return (0..<features.nBands).map { band in
            let below = edge(band - 1)
            let middle = edge(band)
            let above = edge(band + 1)
            var weights = bins.map { (bin: Double) -> Double in
                let rising: Double = (bin - below) / (middle - below)
                let falling: Double = (above - bin) / (above - middle)
                return max(0, min(rising, falling))
            }
            if weights.reduce(0, +) < 1e-9 {
                weights[bins.indices.min { abs(bins[$0] - middle) < abs(bins[$1] - middle) }!] = 1
            }
            let sum = weights.reduce(0, +)
            return weights.map { Float($0 / sum) }
        }
    }
}

/// A periodic Hann window of `length` in the middle of `size` samples.
func hannWindow(size: Int, length: Int) -> [Float] {
    var window = [Float](repeating: 0, count: size)
    for index in 0..<length {
        window[(size - length) / 2 + index] = Float(0.5 - 0.5 * cos(2 * Double.pi * Double(index) / Double(length)))
    }
    return window
}
