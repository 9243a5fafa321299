import Foundation

// As `MelKernel`: pointers and numbers only, so that a frame allocates, retains and locks nothing.

/// The magnitude spectrum of a window, `magnitudeFloor` added under the square root.
struct LinearKernel: FrameKernel {
    private let size: Int
    private let floor: Float
    private let fft: RealFFT
    private let window: UnsafeMutablePointer<Float>
    private let windowed: UnsafeMutablePointer<Float>
    private let power: UnsafeMutablePointer<Float>

    init(_ features: Linear) {
        size = features.nFft
        floor = Float(features.magnitudeFloor)
        fft = RealFFT(size: size)
        window = .filled(with: hannWindow(size: size, length: features.winLength))
        windowed = .zeros(size)
        power = .zeros(size / 2 + 1)
    }

    func deallocate() {
        fft.deallocate()
        for pointer in [window, windowed, power] { pointer.deallocate() }
    }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func frame(of samples: UnsafePointer<Float>, number: Int, into column: UnsafeMutablePointer<Float>, stride: Int) {
        multiply(samples, window, into: windowed, count: size)
        fft.power(of: windowed, into: power)
        for bin in 0...size / 2 {
            column[bin * stride] = _unsafePerformance { (power[bin] + floor).squareRoot() }
        }
    }
}

/// 20 log10 of the root mean square of a window.
struct LevelKernel: FrameKernel {
    private let size: Int
    private let least: Double

    init(_ features: Level) {
        size = features.nFft
        least = pow(10, features.floorDb / 10)
    }

    func deallocate() {}

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func frame(of samples: UnsafePointer<Float>, number: Int, into column: UnsafeMutablePointer<Float>, stride: Int) {
        var energy = 0.0
        for index in 0..<size { energy += Double(samples[index]) * Double(samples[index]) }
        let power = energy / Double(size)
        let level = power > least ? power : least
        column[0] = Float(_unsafePerformance { 10 * log10(level) })
    }
}

/// The fundamental frequency by YIN (de Cheveigne and Kawahara 2002, steps 2 to 5); 0 where it is unvoiced.
struct PitchKernel: FrameKernel {
    private let size: Int
    private let sampleRate: Double
    private let threshold: Double
    private let longest: Int
    private let shortest: Int
    private let difference: UnsafeMutablePointer<Double>

    init(_ features: Pitch) {
        size = features.nFft
        sampleRate = Double(features.sampleRate)
        threshold = features.threshold
        longest = Int(sampleRate / features.fmin)
        shortest = max(2, Int(sampleRate / features.fmax))
        difference = .allocate(capacity: longest + 1)
        difference.initialize(repeating: 1, count: longest + 1)
    }

    func deallocate() { difference.deallocate() }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func frame(of samples: UnsafePointer<Float>, number: Int, into column: UnsafeMutablePointer<Float>, stride: Int) {
        normaliseDifference(samples)
        column[0] = Float(frequency())
    }

    /// d'(lag) of equation 8, over the samples that the longest period leaves of a window.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    private func normaliseDifference(_ samples: UnsafePointer<Float>) {
        let head = size - longest
        var energy = 0.0
        for index in 0..<head { energy += Double(samples[index]) * Double(samples[index]) }
        let silence = 1e-12 * (energy > 1e-12 ? energy : 1e-12) * Double(head)
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

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    private func frequency() -> Double {
        var period = shortest
        while period < longest, difference[period] >= threshold { period += 1 }
        guard period < longest else { return 0 }
        // From the dip on, the first lag after which it rises.
        while period < longest - 1, difference[period] > difference[period + 1] { period += 1 }
        let before = difference[period - 1]
        let here = difference[period]
        let after = difference[period + 1]
        let curvature = before - 2 * here + after
        let shift = curvature > 0 ? 0.5 * (before - after) / curvature : 0
        return sampleRate / (Double(period) + (shift < -0.5 ? -0.5 : shift > 0.5 ? 0.5 : shift))
    }
}

/// Bands of several spectra, evenly spaced in log frequency, and whether there is a sound.
struct LogBandsKernel: FrameKernel {
    private struct Spectrum {
        let fft: RealFFT
        let window: UnsafeMutablePointer<Float>
        let bands: BandSums
    }

    private let spectra: UnsafeMutablePointer<Spectrum>
    private let count: Int
    private let windowed: UnsafeMutablePointer<Float>
    private let power: UnsafeMutablePointer<Float>
    private let longest: Int
    private let hopLength: Int
    private let amplitudeFloor: Float
    private let silence: Double

    init(_ features: LogBands) {
        longest = features.windows.max()!
        hopLength = features.hopLength
        amplitudeFloor = Float(features.amplitudeFloor)
        silence = features.silence
        count = features.windows.count
        spectra = .allocate(capacity: count)
        for (index, size) in features.windows.enumerated() {
            (spectra + index).initialize(
                to: Spectrum(
                    fft: RealFFT(size: size), window: .filled(with: hannWindow(size: size, length: size)),
                    bands: BandSums(Self.basis(features, size))))
        }
        windowed = .zeros(longest)
        power = .zeros(longest / 2 + 1)
    }

    func deallocate() {
        for index in 0..<count {
            spectra[index].fft.deallocate()
            spectra[index].window.deallocate()
            spectra[index].bands.deallocate()
        }
        spectra.deallocate()
        windowed.deallocate()
        power.deallocate()
    }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func frame(of samples: UnsafePointer<Float>, number: Int, into column: UnsafeMutablePointer<Float>, stride: Int) {
        var row = 0
        for index in 0..<count {
            let spectrum = spectra[index]
            let size = spectrum.fft.size
            multiply(samples + (longest - size) / 2, spectrum.window, into: windowed, count: size)
            spectrum.fft.power(of: windowed, into: power)
            for bin in 0...size / 2 { power[bin] = _unsafePerformance { power[bin].squareRoot() } }
            for band in 0..<spectrum.bands.count {
                let amplitude = spectrum.bands.sum(band, of: power)
                column[row * stride] = _unsafePerformance { logf(amplitude + amplitudeFloor) }
                row += 1
            }
        }
        var loudest: Float = 0
        for index in longest / 2..<longest / 2 + hopLength {
            let size = samples[index] < 0 ? -samples[index] : samples[index]
            if size > loudest { loudest = size }
        }
        column[row * stride] = Double(loudest) >= silence ? 1 : 0
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

/// Sums of a spectrum's bins, each band with its weights: those that are not zero, in memory made beforehand.
struct BandSums {
    let count: Int
    private let weights: UnsafeMutablePointer<Float>
    /// Of each band: its first bin, how many there are, and where their weights begin.
    private let spans: UnsafeMutablePointer<(first: Int, count: Int, start: Int)>

    /// `rows`: the weights of every bin, band by band.
    init(_ rows: [[Float]]) {
        count = rows.count
        spans = .allocate(capacity: max(rows.count, 1))
        var packed: [Float] = []
        for (band, row) in rows.enumerated() {
            let first = row.firstIndex { $0 != 0 } ?? 0
            let end = max((row.lastIndex { $0 != 0 } ?? -1) + 1, first)
            (spans + band).initialize(to: (first, end - first, packed.count))
            packed += row[first..<end]
        }
        weights = .filled(with: packed)
    }

    func deallocate() {
        weights.deallocate()
        spans.deallocate()
    }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func sum(_ band: Int, of spectrum: UnsafePointer<Float>) -> Float {
        let span = spans[band]
        return dot(spectrum + span.first, weights + span.start, count: span.count)
    }
}

extension UnsafeMutablePointer<Float> {
    /// Memory of so many zeros, to be deallocated.
    static func zeros(_ count: Int) -> Self {
        let pointer = allocate(capacity: Swift.max(count, 1))
        pointer.initialize(repeating: 0, count: count)
        return pointer
    }

    /// Memory of some values, likewise.
    static func filled(with values: [Float]) -> Self {
        let pointer = allocate(capacity: Swift.max(values.count, 1))
        pointer.initialize(from: values, count: values.count)
        return pointer
    }
}
