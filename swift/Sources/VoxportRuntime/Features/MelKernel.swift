import Foundation

/// What a frame of a log-mel spectrogram takes: pointers and numbers only, so that nothing is allocated, retained or
/// released on its way.
struct MelKernel: FrameKernel {
    private let size: Int
    private let bands: Int
    private let isSquared: Bool
    private let magnitudeFloor: Float
    private let amplitudeFloor: Float
    private let isDecimal: Bool
    private let gain: Float
    private let isClipped: Bool
    private let lowest: Float
    private let highest: Float
    private let fft: RealFFT
    private let window: UnsafeMutablePointer<Float>
    private let windowed: UnsafeMutablePointer<Float>
    private let spectrum: UnsafeMutablePointer<Float>
    private let sums: BandSums
    /// Normalisation by range and by statistics alike: a level times `scale`, plus `offset`, of each band.
    private let scales: UnsafeMutablePointer<Float>
    private let offsets: UnsafeMutablePointer<Float>

    /// Throws ``VoxportError/audio(_:)`` for settings that are none.
    init(_ mel: Mel) throws {
        try mel.check()
        size = mel.nFft
        bands = mel.nMels
        isSquared = mel.power == 2
        magnitudeFloor = Float(mel.magnitudeFloor)
        amplitudeFloor = Float(mel.amplitudeFloor)
        isDecimal = mel.logBase == 10
        gain = Float(mel.gain)
        isClipped = mel.isClipped
        highest = Float(mel.maxNorm)
        lowest = mel.symmetricNorm ? -highest : 0
        fft = RealFFT(size: mel.nFft)
        window = .filled(with: hannWindow(size: size, length: mel.winLength))
        windowed = .zeros(size)
        spectrum = .zeros(size / 2 + 1)
        sums = BandSums(mel.basis)
        scales = .allocate(capacity: bands)
        offsets = .allocate(capacity: bands)
        for (band, level) in mel.levels.enumerated() {
            scales[band] = Float(level.scale)
            offsets[band] = Float(level.offset)
        }
    }

    func deallocate() {
        fft.deallocate()
        sums.deallocate()
        for pointer in [window, windowed, spectrum, scales, offsets] { pointer.deallocate() }
    }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func frame(of samples: UnsafePointer<Float>, number: Int, into column: UnsafeMutablePointer<Float>, stride: Int) {
        multiply(samples, window, into: windowed, count: size)
        fft.power(of: windowed, into: spectrum)
        for bin in 0...size / 2 {
            let power = spectrum[bin] + magnitudeFloor
            spectrum[bin] = isSquared ? power : _unsafePerformance { power.squareRoot() }
        }
        for band in 0..<bands {
            var amplitude = sums.sum(band, of: spectrum)
            if amplitude < amplitudeFloor { amplitude = amplitudeFloor }
            let log = _unsafePerformance { isDecimal ? log10f(amplitude) : logf(amplitude) }
            var level = gain * log * scales[band] + offsets[band]
            if isClipped { level = level < lowest ? lowest : level > highest ? highest : level }
            column[band * stride] = level
        }
    }
}
