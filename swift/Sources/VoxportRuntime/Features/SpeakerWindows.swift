import Foundation

extension SpeakerMel {
    /// The windows that an encoder embeds, (windows, `partialFrames`, `nMels`), of a recording at `sampleRate`.
    ///
    /// As Python's `runtime/speech/speaker.py` makes them; where ``trimsSilence`` is set, of what WebRTC's detector takes
    /// for speech. Throws ``VoxportError/audio(_:)`` for silence, and for settings that are none.
    public func windows(of samples: [Float]) throws -> Tensor {
        try check()
        let raised = try raised(samples)
        let speech = trimsSilence ? voiced(raised) : raised
        guard !speech.isEmpty else { throw VoxportError.audio("there is no speech in the recording") }
        let starts: [Int]
        var frames: [[Float]]
        if let spread {
            let count = speech.count / hopLength + (isCentered ? 1 : 0)
            let end = max(count, partialFrames) - partialFrames
            starts = (0..<max(spread, 1)).map { spread > 1 ? Int(Double(end * $0) / Double(spread - 1)) : 0 }
            frames = try self.frames(of: speech)
        } else {
            starts = partialStarts(speech.count)
            let covered = (starts.last! + partialFrames) * hopLength
            frames = try self.frames(of: speech + [Float](repeating: 0, count: max(0, covered - speech.count)))
        }
        let missing = (starts.last! + partialFrames) - frames.count
        if missing > 0 { frames += Array(repeating: [Float](repeating: 0, count: nMels), count: missing) }
        let values = starts.flatMap { frames[$0..<$0 + partialFrames].joined() }
        return Tensor(values, shape: [starts.count, partialFrames, nMels])
    }

    /// First frames of the windows that cover so many samples; at least one.
    func partialStarts(_ samples: Int) -> [Int] {
        let frames = (samples + hopLength) / hopLength
        let step = max(1, Int((Double(partialFrames) * (1 - overlap)).rounded(.toNearestOrEven)))
        var starts = Array(stride(from: 0, to: max(1, frames - partialFrames + step + 1), by: step))
        let covered = Double(samples) / Double(hopLength) - Double(starts.last!)
        if starts.count > 1, covered < leastCoverage * Double(partialFrames) { starts.removeLast() }
        return starts
    }

    private var isCentered: Bool { mel == nil || mel?.framing == .centered }

    private func check() throws {
        var plain = Mel()
        (plain.sampleRate, plain.nFft, plain.winLength) = (sampleRate, nFft, winLength)
        (plain.hopLength, plain.nMels) = (hopLength, nMels)
        try plain.check()
        guard (1...100_000).contains(partialFrames), (0..<1).contains(overlap), (spread ?? 1) <= 10_000 else {
            throw VoxportError.audio("windows of \(partialFrames) frames that overlap by \(overlap) are none")
        }
        guard !trimsSilence || sampleRate == SpeechDetector.sampleRate else {
            throw VoxportError.audio(
                "this speaker encoder reads audio of \(sampleRate) Hz without its silences, and the detector of speech here "
                    + "hears \(SpeechDetector.sampleRate) Hz alone")
        }
        guard mel.map({ $0.nMels == nMels }) ?? true, ["hann", "hamming"].contains(window) else {
            throw VoxportError.audio("the settings of the speaker's mel do not fit, or its window is \(window)")
        }
    }

    /// Quieter speech at the level.
    private func raised(_ samples: [Float]) throws -> [Float] {
        let energy = samples.reduce(0) { $0 + Double($1) * Double($1) }
        guard energy > 0, energy.isFinite else {
            throw VoxportError.audio("the recording is silent (or not finite): there is no speaker in it")
        }
        guard let levelDbfs else { return samples }
        let gain = Float(pow(10, max(0, levelDbfs - 10 * log10(energy / Double(samples.count))) / 20))
        return samples.map { $0 * gain }
    }

    /// Mel bands of the power spectrum of centred windows, frame by frame; with ``mel`` that mel.
    private func frames(of samples: [Float]) throws -> [[Float]] {
        if let mel {
            let rows = try mel.spectrogram(of: samples)
            let (count, values) = (rows.shape[1], rows.floats)
            return (0..<count).map { frame in (0..<nMels).map { values[$0 * count + frame] } }
        }
        var emphasised = samples
        if preemphasis != 0 {
            // Coqui's filter begins with a reflection.
            let before = [samples.count > 1 ? samples[1] : samples[0]] + samples.dropLast()
            for index in samples.indices { emphasised[index] -= Float(preemphasis) * before[index] }
        }
        let border = nFft / 2
        let mode: BorderMode = htk ? .reflect : .constant
        guard mode == .constant || samples.count > border else {
            throw VoxportError.audio("\(samples.count) samples are too short for a window of \(nFft)")
        }
        let padded = mode.before(emphasised, border) + emphasised + mode.after(emphasised, border)
        let fft = RealFFT(size: nFft)
        defer { fft.deallocate() }
        let shape = windowShape
        let sums = BandSums(bands)
        defer { sums.deallocate() }
        var windowed = [Float](repeating: 0, count: nFft)
        var power = [Float](repeating: 0, count: nFft / 2 + 1)
        return (0...(padded.count - nFft) / hopLength).map { frame in
            for index in 0..<nFft { windowed[index] = padded[frame * hopLength + index] * shape[index] }
            fft.power(of: windowed, into: &power)
            return (0..<sums.count).map { sums.sum($0, of: power) }
        }
    }

    /// A periodic window in the middle of the transform.
    private var windowShape: [Float] {
        if window == "hann" { return hannWindow(size: nFft, length: winLength) }
        var shape = [Float](repeating: 0, count: nFft)
        for index in 0..<winLength {
            let turn = cos(2 * Double.pi * Double(index) / Double(winLength))
            shape[(nFft - winLength) / 2 + index] = Float(0.54 - 0.46 * turn)
        }
        return shape
    }

    /// Slaney's bands with their area as norm, or HTK's without (torchaudio's), (`nMels`, `nFft` / 2 + 1).
    private var bands: [[Float]] {
        guard htk else {
            var plain = Mel()
            (plain.sampleRate, plain.nFft, plain.nMels) = (sampleRate, nFft, nMels)
            return plain.basis
        }
        let top = 2595 * log10(1 + Double(sampleRate) / 2 / 700)
        let edges: [Double] = (0..<nMels + 2).map { edge in
            let mel: Double = top * Double(edge) / Double(nMels + 1)
            return 700 * (pow(10, mel / 2595) - 1)
        }
        return (0..<nMels).map { band in
            (0..<nFft / 2 + 1).map { bin in
                let hertz: Double = Double(bin) * Double(sampleRate) / Double(nFft)
                let rising: Double = (hertz - edges[band]) / (edges[band + 1] - edges[band])
                let falling: Double = (edges[band + 2] - hertz) / (edges[band + 2] - edges[band + 1])
                return Float(max(0, min(rising, falling)))
            }
        }
    }
}

/// Samples without what is over 20 dB softer than the loudest of it at either end.
///
/// `librosa.effects.trim(top_db=20)`: the level of frames of 2048 samples, one each 512, over zeros beyond both ends.
func trimmed(_ samples: [Float]) -> [Float] {
    let (frame, hop) = (2048, 512)
    var sums = [0.0]
    for sample in samples { sums.append(sums.last! + Double(sample) * Double(sample)) }
    var powers: [Double] = []
    for centre in stride(from: 0, through: samples.count, by: hop) {
        let first: Int = max(centre - frame / 2, 0)
        let end: Int = min(centre + frame / 2, samples.count)
        powers.append(sums[end] - sums[first])
    }
    let threshold = (powers.max() ?? 0) * 0.01
    guard let first = powers.firstIndex(where: { $0 > threshold }),
        let last = powers.lastIndex(where: { $0 > threshold })
    else { return samples }
    return Array(samples[first * hop..<min((last + 1) * hop, samples.count)])
}

/// What an encoder, (windows, …) in and out, makes of a recording: (1, …), the mean over its windows.
///
/// `samples` are at the features' rate. Windows of a speaker encoder are as its features say, and the mean of its
/// embeddings has length 1. Others are `length` frames that overlap by half, the last one ending with the recording; one of
/// fewer frames begins anew. Throws ``VoxportError/audio(_:)`` for silence.
func targetEmbedding(
    of samples: [Float], _ features: Features, length: Int, encoder: (Tensor) throws -> Tensor
) throws -> Tensor {
    let speech = trimmed(samples)
    if case .speakerMel(let settings) = features {
        let embeddings = try encoder(settings.windows(of: speech))
        let mean = meanRow(embeddings)
        let norm = Float(mean.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot())
        return Tensor(mean.map { $0 / norm }, shape: [1] + embeddings.shape.dropFirst())
    }
    let stream = try features.stream()
    let frames = Tensor.joined([try stream.push(speech), try stream.flush()], along: 1)
    let (channels, count, values) = (frames.shape[0], frames.shape[1], frames.floats)
    guard count > 0 else { throw VoxportError.audio("the recording of a target is too short") }
    let starts = Array(stride(from: 0, to: count - length, by: max(1, length / 2))) + [max(count - length, 0)]
    var windows: [Float] = []
    for start in starts {
        for channel in 0..<channels {
            for frame in start..<start + length { windows.append(values[channel * count + frame % count]) }
        }
    }
    let embeddings = try encoder(Tensor(windows, shape: [starts.count, channels, length]))
    return Tensor(meanRow(embeddings), shape: [1] + embeddings.shape.dropFirst())
}

/// The mean over the leading axis.
func meanRow(_ rows: Tensor) -> [Float] {
    let values: [Float] = rows.floats
    let count: Int = rows.shape[0]
    let size: Int = values.count / max(count, 1)
    var sums = [Double](repeating: 0, count: size)
    for (index, value) in values.enumerated() { sums[index % size] += Double(value) }
    return sums.map { Float($0 / Double(count)) }
}
