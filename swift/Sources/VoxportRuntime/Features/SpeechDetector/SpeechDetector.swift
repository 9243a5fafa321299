/// WebRTC's detector of speech in its strictest mode, for 30 ms at 16 kHz at a time: two Gaussians for noise and two for
/// speech in each of six bands, which follow what they hear. In integers, decision by decision that of the C library that
/// Python calls. What it was trained to is of common_audio/vad (BSD-3: see COPYING beside this file).
struct SpeechDetector {
    static let sampleRate = 16000
    /// Samples of a decision.
    static let window = 480

    private static let spectrumWeights: [Int32] = [6, 8, 10, 12, 14, 16]
    private static let local: Int32 = 94
    private static let global: Int32 = 1100
    /// Frames that count as speech behind it, after a short run of it and after a long one.
    private static let hangover = (short: 2, long: 3)
    private static let longestRun = 6

    private var bands = SpeechBands()
    private var minima = [LevelMinimum](repeating: LevelMinimum(), count: SpeechBands.count)
    private var noise: [Mixture]
    private var speech: [Mixture]
    private var frames = 0
    private var run = 0
    private var hanging = 0

    init() {
        noise = (0..<SpeechBands.count).map { band in
            Mixture(
                weights: [[34, 62, 72, 66, 53, 25], [94, 66, 56, 62, 75, 103]].map { $0[band] },
                means: [[6738, 4892, 7065, 6715, 6771, 3369], [7646, 3863, 7820, 7266, 5020, 4362]].map { $0[band] },
                deviations: [[378, 1064, 493, 582, 688, 593], [474, 697, 475, 688, 421, 455]].map { $0[band] },
                unlikely: 16384)
        }
        speech = (0..<SpeechBands.count).map { band in
            Mixture(
                weights: [[48, 82, 45, 87, 50, 47], [80, 46, 83, 41, 78, 81]].map { $0[band] },
                means: [[8306, 10085, 10078, 11823, 11843, 6309], [9473, 9571, 10879, 7581, 8180, 7483]].map {
                    $0[band]
                },
                deviations: [[555, 505, 567, 524, 585, 1231], [509, 828, 492, 1540, 1079, 850]].map { $0[band] },
                unlikely: 0)
        }
    }

    /// Whether a window of 16-bit samples is speech.
    mutating func isSpeech(_ window: [Int16]) -> Bool {
        let (levels, energy) = bands.levels(of: window)
        let isLoud = energy > SpeechBands.leastEnergy && hears(levels)
        if isLoud {
            run += 1
            hanging = run > Self.longestRun ? Self.hangover.long : Self.hangover.short
            run = min(run, Self.longestRun)
            return true
        }
        run = 0
        guard hanging > 0 else { return false }
        hanging -= 1
        return true
    }

    /// Whether speech is likelier than noise, in one band or in all; the likelier one learns of it.
    private mutating func hears(_ levels: [Int16]) -> Bool {
        var sum: Int32 = 0
        var isSpeech = false
        var heard: [(noise: Mixture.Likelihood, speech: Mixture.Likelihood)] = []
        for band in 0..<SpeechBands.count {
            let likelihoods = (noise[band].likelihood(of: levels[band]), speech[band].likelihood(of: levels[band]))
            heard.append(likelihoods)
            let ratio = likelihoods.0.magnitude - likelihoods.1.magnitude
            sum += ratio * Self.spectrumWeights[band]
            isSpeech = isSpeech || ratio << 2 > Self.local
        }
        isSpeech = isSpeech || sum >= Self.global
        var ceiling: Int32 = 12800
        for band in 0..<SpeechBands.count {
            learn(band, Int32(levels[band]), heard[band], isSpeech, ceiling: ceiling)
            ceiling = Self.loudestSpeech[band]
        }
        frames += 1
        return isSpeech
    }

    private static let loudestSpeech: [Int32] = [11392, 11392, 11520, 11520, 11520, 11520]
    private static let loudestNoise: [Int32] = [9216, 9088, 8960, 8832, 8704, 8576]
    private static let leastDistance: [Int32] = [544, 544, 576, 576, 576, 576]
    private static let softestSpeech: [Int32] = [640, 768]

    private mutating func learn(
        _ band: Int, _ level: Int32, _ heard: (noise: Mixture.Likelihood, speech: Mixture.Likelihood),
        _ isSpeech: Bool, ceiling: Int32
    ) {
        let least = minima[band].push(Int16(level), frames: frames)
        let mean = wrapped(noise[band].weighed >> 6)
        for index in 0..<2 {
            let noiseMean = noise[band].means[index]
            var moved = noiseMean
            if !isSpeech {
                let step = wrapped(scaled(heard.noise.shares[index], heard.noise.deltas[index], 11))
                moved = wrapped(moved + wrapped(scaled(step, 655, 22)))
            }
            // Towards the softest that was heard of late.
            moved = wrapped(moved + wrapped(scaled(wrapped((Int32(least) << 4) - mean), 154, 9)))
            let range = Int32(index + 5) << 7...Int32(72 + index - band) << 7
            noise[band].means[index] = min(max(moved, range.lowerBound), range.upperBound)
            if isSpeech {
                let old = speech[band].means[index]
                let step = wrapped(scaled(heard.speech.shares[index], heard.speech.deltas[index], 11))
                let new = wrapped(old + ((wrapped(scaled(step, 6554, 21)) + 1) >> 1))
                speech[band].means[index] = min(max(new, Self.softestSpeech[index]), ceiling + 640)
                let apart = wrapped(level - ((old + 4) >> 3))
                let surplus = scaled(heard.speech.deltas[index], apart, 3) - 4096
                let share = heard.speech.shares[index] >> 2
                speech[band].widen(index, scaled(share, surplus, 4), tenfold: true, rounding: 8)
            } else {
                let apart = wrapped(level - (noiseMean >> 3))
                let surplus = scaled(heard.noise.deltas[index], apart, 3) - 4096
                let share = wrapped((heard.noise.shares[index] + 2) >> 2)
                noise[band].widen(index, scaled(share, surplus, 14), tenfold: false, rounding: 6)
            }
        }
        keepApart(band)
    }

    /// Means that came too near to each other are moved apart, and those that are too loud are lowered.
    private mutating func keepApart(_ band: Int) {
        var (noiseMean, speechMean) = (noise[band].weighed, speech[band].weighed)
        let distance = wrapped(wrapped(speechMean >> 9) - wrapped(noiseMean >> 9))
        if distance < Self.leastDistance[band] {
            let missing = wrapped(Self.leastDistance[band] - distance)
            speech[band].move(wrapped(scaled(13, missing, 2)))
            noise[band].move(-wrapped(scaled(3, missing, 2)))
            (noiseMean, speechMean) = (noise[band].weighed, speech[band].weighed)
        }
        let surplus = wrapped(speechMean >> 7) - Self.loudestSpeech[band]
        if surplus > 0 { speech[band].move(-surplus) }
        let louder = wrapped(noiseMean >> 7) - Self.loudestNoise[band]
        if louder > 0 { noise[band].move(-louder) }
    }
}
