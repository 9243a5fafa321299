import Foundation

/// 18 bands that overlap by halves, their levels, and the linear prediction that follows from these.
struct BarkBands {
    /// The band whose middle is at or before a bin, and the share of the one after it.
    private let lower: UnsafeMutablePointer<Int>
    private let share: UnsafeMutablePointer<Double>
    private let compensation: UnsafeMutablePointer<Double>
    private let cosines: UnsafeMutablePointer<Double>
    private let smooth: UnsafeMutablePointer<Double>
    private let lags: UnsafeMutablePointer<Double>
    private let before: UnsafeMutablePointer<Double>

    init() {
        let middles = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 34, 40].map { 4 * $0 }
        lower = .allocate(capacity: Opus.window / 2)
        lower.initialize(repeating: 0, count: Opus.window / 2)
        share = .zeros(Opus.window / 2)
        for bin in 0..<Opus.window / 2 {
            let band = middles.lastIndex { $0 <= bin }!
            lower[bin] = band
            share[bin] = Double(bin - middles[band]) / Double(middles[band + 1] - middles[band])
        }
        // Of a band's width.
        let widths =
            [0.8] + [Double](repeating: 1, count: 7) + [0.666667, 0.5, 0.5, 0.5, 0.333333, 0.25, 0.25, 0.2]
            + [0.166667, 0.173913]
        compensation = .zeros(Opus.bands)
        for (band, width) in widths.enumerated() { compensation[band] = width }
        cosines = .zeros(Opus.window)
        for index in 0..<Opus.window { cosines[index] = cos(2 * Double.pi * Double(index) / Double(Opus.window)) }
        smooth = .zeros(Opus.window / 2)
        lags = .zeros(Opus.order + 1)
        before = .zeros(Opus.order)
    }

    func deallocate() {
        lower.deallocate()
        for pointer in [share, compensation, cosines, smooth, lags, before] { pointer.deallocate() }
    }

    /// log10 energies, no more than 25 dB below the band before and 80 below the loudest before. The last bin is in none.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func measure(_ power: UnsafePointer<Double>, into levels: UnsafeMutablePointer<Double>) {
        for band in 0..<Opus.bands { levels[band] = 0 }
        for bin in 0..<Opus.window / 2 {
            levels[lower[bin]] += (1 - share[bin]) * power[bin]
            levels[lower[bin] + 1] += share[bin] * power[bin]
        }
        levels[0] *= 2
        levels[Opus.bands - 1] *= 2
        var highest = -2.0
        var follow = -2.0
        for band in 0..<Opus.bands {
            let energy = levels[band] + 1e-2
            var level = _unsafePerformance { log10(energy) }
            if level < follow - 2.5 { level = follow - 2.5 }
            if level < highest - 8 { level = highest - 8 }
            levels[band] = level
            highest = highest > level ? highest : level
            follow = follow - 2.5 > level ? follow - 2.5 : level
        }
    }

    /// The coefficients of linear prediction of some levels, of the sample before first.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func predict(_ levels: UnsafePointer<Double>, into coefficients: UnsafeMutablePointer<Double>) {
        for bin in 0..<Opus.window / 2 {
            let band = lower[bin]
            let here = energy(levels, band)
            smooth[bin] = (1 - share[bin]) * here + (share[bin] > 0 ? share[bin] * energy(levels, band + 1) : 0)
        }
        for lag in 0...Opus.order {
            var sum = 0.5 * smooth[0]
            for bin in 1..<Opus.window / 2 { sum += smooth[bin] * cosines[lag * bin % Opus.window] }
            lags[lag] = 2 * sum
        }
        lags[0] += lags[0] * 1e-4 + 26.0 / 38  // a floor at -40 dB
        for lag in 1...Opus.order { lags[lag] *= 1 - 6e-5 * Double(lag * lag) }
        solve(coefficients)
    }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    private func energy(_ levels: UnsafePointer<Double>, _ band: Int) -> Double {
        let level = levels[band]
        return _unsafePerformance { pow(10, level) } * compensation[band]
    }

    /// Levinson's recursion on the autocorrelation, which is done at a gain of 30 dB.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    private func solve(_ coefficients: UnsafeMutablePointer<Double>) {
        for order in 0..<Opus.order { coefficients[order] = 0 }
        var error = lags[0]
        var order = 0
        while order < Opus.order {
            var total = lags[order + 1]
            for lag in 0..<order { total += coefficients[lag] * lags[order - lag] }
            let reflection = -total / error
            for lag in 0..<order { before[lag] = coefficients[lag] }
            for lag in 0..<order { coefficients[lag] += reflection * before[order - 1 - lag] }
            coefficients[order] = reflection
            error -= reflection * reflection * error
            order = error >= 1e-3 * lags[0] ? order + 1 : Opus.order
        }
    }
}
