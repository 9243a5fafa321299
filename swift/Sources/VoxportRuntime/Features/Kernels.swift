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

/// YIN's difference of a window (de Cheveigne and Kawahara 2002, steps 2 and 3), over the samples that the longest period
/// leaves of it.
struct YinDifference {
    let longest: Int
    let shortest: Int
    let values: UnsafeMutablePointer<Double>
    private let size: Int
    private let sampleRate: Double

    init(size: Int, sampleRate: Int, fmin: Double, fmax: Double) {
        self.size = size
        self.sampleRate = Double(sampleRate)
        longest = Int(self.sampleRate / fmin)
        shortest = max(2, Int(self.sampleRate / fmax))
        values = .allocate(capacity: longest + 1)
        values.initialize(repeating: 1, count: longest + 1)
    }

    func deallocate() { values.deallocate() }

    /// d'(lag) of equation 8.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func take(_ samples: UnsafePointer<Float>) {
        let head = size - longest
        var energy = 0.0
        for index in 0..<head { energy += Double(samples[index]) * Double(samples[index]) }
        let silence = 1e-12 * (energy > 1e-12 ? energy : 1e-12) * Double(head)
        var total = 0.0
        values[0] = 1
        for lag in 1...longest {
            var sum = 0.0
            for index in 0..<head {
                let step = Double(samples[index]) - Double(samples[index + lag])
                sum += step * step
            }
            total += sum
            values[lag] = total <= silence ? 1 : sum * Double(lag) / total
        }
    }

    /// The frequency of the vertex of the parabola through a dip and its neighbours, and its height.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func vertex(_ period: Int) -> (hertz: Double, depth: Double) {
        let before = values[period - 1]
        let here = values[period]
        let after = values[period + 1]
        let curvature = before - 2 * here + after
        let bent = curvature > 0 ? 0.5 * (before - after) / curvature : 0
        let shift = bent < -0.5 ? -0.5 : bent > 0.5 ? 0.5 : bent
        return (sampleRate / (Double(period) + shift), here - 0.25 * (before - after) * shift)
    }
}

/// The fundamental frequency by YIN, its first dip below a threshold; 0 where a window has none.
struct PitchKernel: FrameKernel {
    private let threshold: Double
    private let difference: YinDifference

    init(_ features: Pitch) {
        threshold = features.threshold
        difference = YinDifference(
            size: features.nFft, sampleRate: features.sampleRate, fmin: features.fmin, fmax: features.fmax)
    }

    func deallocate() { difference.deallocate() }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func frame(of samples: UnsafePointer<Float>, number: Int, into column: UnsafeMutablePointer<Float>, stride: Int) {
        difference.take(samples)
        column[0] = Float(frequency())
    }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    private func frequency() -> Double {
        let values = difference.values
        var period = difference.shortest
        while period < difference.longest, values[period] >= threshold { period += 1 }
        guard period < difference.longest else { return 0 }
        // From the dip on, the first lag after which it rises.
        while period < difference.longest - 1, values[period] > values[period + 1] { period += 1 }
        return difference.vertex(period).hertz
    }
}

/// The deepest dips of YIN's difference below a threshold: frequencies, falling, 0 where there is none; then their depths, 1
/// where there is none.
struct PitchCandidatesKernel: FrameKernel {
    static let most = 16
    private let threshold: Double
    private let count: Int
    private let difference: YinDifference
    /// The periods that were found, rising.
    private let periods: UnsafeMutablePointer<Int>

    init(_ features: PitchCandidates) {
        threshold = features.threshold
        count = features.count
        difference = YinDifference(
            size: features.nFft, sampleRate: features.sampleRate, fmin: features.fmin, fmax: features.fmax)
        periods = .allocate(capacity: count)
        periods.initialize(repeating: 0, count: count)
    }

    func deallocate() {
        difference.deallocate()
        periods.deallocate()
    }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func frame(of samples: UnsafePointer<Float>, number: Int, into column: UnsafeMutablePointer<Float>, stride: Int) {
        difference.take(samples)
        let found = deepest()
        for index in 0..<count {
            let isThere = index < found
            let (hertz, depth) = isThere ? difference.vertex(periods[index]) : (0, 1)
            column[index * stride] = Float(hertz)
            column[(count + index) * stride] = Float(depth > 0 ? depth : 0)
        }
    }

    /// Fills `periods`. Returns how many there are.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    private func deepest() -> Int {
        let values = difference.values
        var found = 0
        for period in difference.shortest..<difference.longest {
            let here = values[period]
            guard here < values[period - 1], here <= values[period + 1], here < threshold else { continue }
            if found == count {
                // In place of the shallowest, the later one of two; the others move up, so that periods go on rising.
                var worst = 0
                for index in 1..<count where values[periods[index]] >= values[periods[worst]] { worst = index }
                if here >= values[periods[worst]] { continue }
                for index in worst..<count - 1 { periods[index] = periods[index + 1] }
                found -= 1
            }
            periods[found] = period
            found += 1
        }
        return found
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
