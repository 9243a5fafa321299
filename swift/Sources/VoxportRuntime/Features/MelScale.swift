import Foundation

extension Mel {
    /// A mel (…, `nMels`, T) in the scale of other settings (level, logarithm, normalisation), their noise below.
    ///
    /// Throws ``VoxportError/audio(_:)`` where the settings differ in more than the scale.
    func rescaled(_ mel: Tensor, to target: Mel) throws -> Tensor {
        try requireSameSpectrum(target)
        guard mel.shape.count == 3, mel.shape[1] == nMels else {
            throw VoxportError.audio("a mel of \(nMels) bands is wanted, got \(mel.shape)")
        }
        let frames = mel.shape[2]
        var values = mel.floats
        if !hasScale(of: target) {
            let source = levels
            let other = target.levels
            let toNatural = (logBase == 10 ? log(10.0) : 1) / gain
            let fromNatural = target.gain / (target.logBase == 10 ? log(10.0) : 1)
            let lowest = log(target.amplitudeFloor)
            let isClipped = target.isClipped
            let range = (target.symmetricNorm ? -target.maxNorm : 0)...target.maxNorm
            for index in values.indices {
                let band = index / frames % nMels
                let level = (Double(values[index]) - source[band].offset) / source[band].scale
                var scaled = max(level * toNatural, lowest) * fromNatural * other[band].scale + other[band].offset
                if isClipped { scaled = min(max(scaled, range.lowerBound), range.upperBound) }
                values[index] = Float(scaled)
            }
        }
        let scaled = Tensor(values, shape: mel.shape)
        guard target.noiseRows > 0 else { return scaled }
        let rows = frameNoise(rows: target.noiseRows, frames: 0..<frames, kind: target.noise)
        return .joined([scaled, Tensor(rows, shape: [1, target.noiseRows, frames])], along: 1)
    }

    /// Of each band: a level times `scale`, plus `offset`, is what the model takes.
    var levels: [(scale: Double, offset: Double)] {
        (0..<nMels).map { band in
            guard signalNorm else { return (1, 0) }
            if let mean, let std { return (1 / std[band], -mean[band] / std[band]) }
            // (level - ref - min) / -min is 0 to 1: that times max_norm, or from -max_norm to max_norm.
            let scale = maxNorm / -minLevelDb
            let offset = -(refLevelDb + minLevelDb) * scale
            return symmetricNorm ? (2 * scale, 2 * offset - maxNorm) : (scale, offset)
        }
    }

    /// Whether what lies beyond the range of levels is cut off.
    var isClipped: Bool { signalNorm && mean == nil && clipNorm }

    private func hasScale(of other: Mel) -> Bool {
        guard signalNorm == other.signalNorm, logBase == other.logBase, gain == other.gain else { return false }
        guard signalNorm else { return true }
        if mean != nil || other.mean != nil { return mean == other.mean && std == other.std }
        return minLevelDb == other.minLevelDb && refLevelDb == other.refLevelDb
            && symmetricNorm == other.symmetricNorm && maxNorm == other.maxNorm
    }

    /// Throws ``VoxportError/audio(_:)`` where the mel of one model differs from that of the other in more than its scale.
    func requireSameSpectrum(_ other: Mel) throws {
        func settings(_ mel: Mel) -> [(String, Double)] {
            [
                ("sample_rate", Double(mel.sampleRate)), ("n_fft", Double(mel.nFft)),
                ("win_length", Double(mel.winLength)), ("hop_length", Double(mel.hopLength)),
                ("n_mels", Double(mel.nMels)), ("fmin", mel.fmin), ("fmax", mel.fmax ?? Double(mel.sampleRate) / 2),
                ("preemphasis", mel.preemphasis), ("power", Double(mel.power)),
            ]
        }
        for (here, there) in zip(settings(self), settings(other)) where here.1 != there.1 {
            throw VoxportError.audio(
                "the mel of one model does not fit the other: \(here.0) is \(here.1) here and \(there.1) there")
        }
    }
}
