import Foundation

// What opus 1.5.2 reads of speech (dnn/freq.c, lpcnet_enc.c, pitchdnn.c), as Python's `runtime/speech/excitation.py` has
// it and in the same precision: numbers of 64 bits until a frame is made.

/// The sizes of the analysis.
enum Opus {
    static var rate: Int { 16000 }
    static var hop: Int { 160 }
    /// Samples of a spectrum.
    static var window: Int { 320 }
    /// Samples that a frame depends on: the linear predictions of three windows.
    static var frame: Int { 640 }
    static var bands: Int { 18 }
    /// Bins of which the phase's advance is read, and the rows that they give.
    static var phases: Int { 30 }
    static var phaseRows: Int { 88 }
    /// The longest period in samples, and how many periods there are.
    static var longest: Int { 256 }
    static var lags: Int { 224 }
    /// Rows of an excitation's frame.
    static var rows: Int { 536 }
    /// Of linear prediction.
    static var order: Int { 16 }
    static var preemphasis: Double { 0.85 }
}

/// A frame of the excitation, and the energies of its last window: of 640 emphasised samples alone, so that frames are the
/// same however audio comes.
///
/// As `MelKernel`: pointers and numbers only.
struct OpusAnalysis {
    /// 88 rows of phases, 224 of correlations by period, 224 of those of what is low; the last frame's.
    let rows: UnsafeMutablePointer<Float>
    /// log10 energies of the last window's 18 bands.
    let levels: UnsafeMutablePointer<Double>
    private let fourier = WindowSpectrum()
    private let bands = BarkBands()
    private let scaled: UnsafeMutablePointer<Double>
    private let power: UnsafeMutablePointer<Double>
    private let predictor: UnsafeMutablePointer<Double>
    private let residual: UnsafeMutablePointer<Double>
    private let filtered: UnsafeMutablePointer<Double>
    private let energies: UnsafeMutablePointer<Double>

    init() {
        rows = .zeros(Opus.rows)
        levels = .zeros(Opus.bands)
        scaled = .zeros(Opus.frame)
        power = .zeros(Opus.window / 2 + 1)
        predictor = .zeros(Opus.order)
        residual = .zeros(3 * Opus.hop)
        filtered = .zeros(3 * Opus.hop)
        energies = .zeros(Opus.longest + Opus.hop + 1)
    }

    func deallocate() {
        fourier.deallocate()
        bands.deallocate()
        rows.deallocate()
        for pointer in [levels, scaled, power, predictor, residual, filtered, energies] { pointer.deallocate() }
    }

    /// Fills `rows` and `levels`, of samples of full scale 1 that are emphasised already.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func take(_ samples: UnsafePointer<Double>) {
        for index in 0..<Opus.frame { scaled[index] = samples[index] * 32768 }  // opus counts in 16-bit integers
        for window in 0..<3 {
            fourier.take(scaled + window * Opus.hop)
            for bin in 0...Opus.window / 2 {
                power[bin] = fourier.re[bin] * fourier.re[bin] + fourier.im[bin] * fourier.im[bin]
            }
            bands.measure(power, into: levels)
            bands.predict(levels, into: predictor)
            leave(window)
            if window == 1 { fourier.remember() }
        }
        fillPhases()
        filtered[0] = residual[0]
        for index in 1..<3 * Opus.hop { filtered[index] = residual[index] + 0.7 * residual[index - 1] }
        correlate(at: Opus.phaseRows) { xy, xx, yy in 2 * xy / (1 + xx + yy) }
        passLow()
        correlate(at: Opus.phaseRows + Opus.lags) { xy, xx, yy in xy / (1 + xx * yy).squareRoot() }
    }

    /// The cosines and sines by which phases advanced since the window before, and levels.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    private func fillPhases() {
        rows[0] = Float(level(fourier.re[0] * fourier.re[0]))
        for bin in 1..<Opus.phases {
            let (re, im) = (fourier.re[bin], fourier.im[bin])
            let (before, beforeIm) = (fourier.re[bin + fourier.size], fourier.im[bin + fourier.size])
            let cosine = re * before + im * beforeIm
            let sine = im * before - re * beforeIm
            let length = (cosine * cosine + sine * sine + 1e-15).squareRoot()
            rows[3 * bin - 2] = Float(cosine / length)
            rows[3 * bin - 1] = Float(sine / length)
            rows[3 * bin] = Float(level(re * re + im * im))
        }
    }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    private func level(_ power: Double) -> Double {
        let level = (10 * _unsafePerformance { log10(power + 1e-15) } - 6) / 64
        return level < -1 ? -1 : level > 1 ? 1 : level
    }

    /// What a window's predictor leaves of a hop, half a hop behind the window's second half.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    private func leave(_ window: Int) {
        let from = scaled + Opus.hop / 2 + window * Opus.hop
        let into = residual + window * Opus.hop
        for index in 0..<Opus.hop {
            var sum = from[index]
            for lag in 1...Opus.order { sum += predictor[lag - 1] * from[index - lag] }
            into[index] = sum
        }
    }

    /// The residual below 1200 Hz, ellip(2, 2, 20, 1200 / 8000), which begins with the frame.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    private func passLow() {
        var first = 0.0
        var second = 0.0
        for index in 0..<3 * Opus.hop {
            let sample = residual[index]
            let output = sample + first
            first = -0.84946 * sample + 1.54220 * output + second
            second = sample - 0.70781 * output
            filtered[index] = output
        }
    }

    /// How alike the newest hop of `filtered` is to what was a period before, the longest period first.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    @inline(__always)
    private func correlate(at row: Int, _ share: (_ xy: Double, _ xx: Double, _ yy: Double) -> Double) {
        let newest = filtered + 2 * Opus.hop
        let past = newest - Opus.longest
        for index in 0..<Opus.longest + Opus.hop { energies[index + 1] = energies[index] + past[index] * past[index] }
        var own = 0.0
        for index in 0..<Opus.hop { own += newest[index] * newest[index] }
        for lag in 0..<Opus.lags {
            var product = 0.0
            for index in 0..<Opus.hop { product += newest[index] * past[lag + index] }
            rows[row + lag] = Float(share(product, own, energies[lag + Opus.hop] - energies[lag]))
        }
    }
}

/// The spectrum of 320 samples in the Vorbis codec's window, over 320: 16 numbers 20 apart first, then 20 of those.
private struct WindowSpectrum {
    /// Bins.
    let size = Opus.window / 2 + 1
    /// The last window's spectrum, and behind it the one that was to be remembered.
    let re: UnsafeMutablePointer<Double>
    let im: UnsafeMutablePointer<Double>
    private let shape: UnsafeMutablePointer<Double>
    private let cosines: UnsafeMutablePointer<Double>
    private let sines: UnsafeMutablePointer<Double>
    private let inner: UnsafeMutablePointer<Double>

    init() {
        re = .zeros(2 * size)
        im = .zeros(2 * size)
        shape = .zeros(Opus.window)
        cosines = .zeros(Opus.window)
        sines = .zeros(Opus.window)
        inner = .zeros(2 * Opus.window)
        for index in 0..<Opus.window {
            let sine = sin(Double.pi * (Double(index) + 0.5) / Double(Opus.window))
            shape[index] = sin(0.5 * Double.pi * sine * sine)
            cosines[index] = cos(2 * Double.pi * Double(index) / Double(Opus.window))
            sines[index] = sin(2 * Double.pi * Double(index) / Double(Opus.window))
        }
    }

    func deallocate() { for pointer in [re, im, shape, cosines, sines, inner] { pointer.deallocate() } }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func remember() {
        for bin in 0..<size {
            re[size + bin] = re[bin]
            im[size + bin] = im[bin]
        }
    }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func take(_ samples: UnsafePointer<Double>) {
        for offset in 0..<20 {
            for part in 0..<16 {
                var real = 0.0
                var imaginary = 0.0
                for step in 0..<16 {
                    let sample = samples[20 * step + offset] * shape[20 * step + offset]
                    let turn = 20 * (part * step % 16)
                    real += sample * cosines[turn]
                    imaginary -= sample * sines[turn]
                }
                inner[2 * (20 * part + offset)] = real
                inner[2 * (20 * part + offset) + 1] = imaginary
            }
        }
        for bin in 0..<size {
            var real = 0.0
            var imaginary = 0.0
            let row = inner + 40 * (bin % 16)
            for offset in 0..<20 {
                let turn = offset * bin % Opus.window
                let (cosine, sine) = (cosines[turn], sines[turn])
                real += row[2 * offset] * cosine + row[2 * offset + 1] * sine
                imaginary += row[2 * offset + 1] * cosine - row[2 * offset] * sine
            }
            re[bin] = real / Double(Opus.window)
            im[bin] = imaginary / Double(Opus.window)
        }
    }
}

extension UnsafeMutablePointer<Double> {
    /// Memory of so many zeros, to be deallocated.
    static func zeros(_ count: Int) -> Self {
        let pointer = allocate(capacity: count)
        pointer.initialize(repeating: 0, count: count)
        return pointer
    }

    /// Memory of some values, likewise.
    static func filled(with values: [Float]) -> Self {
        let pointer = allocate(capacity: values.count)
        for (index, value) in values.enumerated() { (pointer + index).initialize(to: Double(value)) }
        return pointer
    }
}

/// The excitation as PitchDNN reads it, a frame for each hop.
struct ExcitationKernel: FrameKernel {
    private let analysis = OpusAnalysis()
    private let samples: UnsafeMutablePointer<Double> = .zeros(Opus.frame)

    func deallocate() {
        analysis.deallocate()
        samples.deallocate()
    }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func frame(of given: UnsafePointer<Float>, number: Int, into column: UnsafeMutablePointer<Float>, stride: Int) {
        for index in 0..<Opus.frame { samples[index] = Double(given[index]) }
        analysis.take(samples)
        for row in 0..<Opus.rows { column[row * stride] = analysis.rows[row] }
    }
}
