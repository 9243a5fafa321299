import Foundation

/// The pitch among candidates: Hz, 0 where it is unvoiced.
final class TrackedTrack: MappedTrack {
    private var tracker: PitchTracker

    init(_ stage: TrackingStage, _ source: Track) throws {
        guard source.channels.isMultiple(of: 2) else {
            throw VoxportError.bundle(
                "stage \(stage.name) takes frequencies and as many depths, not \(source.channels) rows")
        }
        tracker = PitchTracker(frameRate: Double(source.clock.sampleRate) / Double(source.clock.hopLength))
        try super.init(stage.name, [source])
        channels = 1
    }

    override func reset() throws {
        try super.reset()
        tracker.reset()
    }

    override func mapped(_ frames: [Tensor], from start: Int) -> Tensor { tracker.push(frames[0]) }
}

/// The pitch that a component detects, on another clock: Hz, 0 where it is unvoiced.
final class VoicingTrack: Track {
    private let stage: VoicingStage

    init(_ stage: VoicingStage, _ source: Track) throws {
        guard source.channels == 2 else {
            throw VoxportError.bundle(
                "stage \(stage.name) takes a frequency and a confidence, not \(source.channels) rows")
        }
        self.stage = stage
        super.init(stage.clock, [source])
    }

    private var source: Track { sources[0] }

    override func needs(_ source: Track) -> Int {
        let place = source.clock.positions(of: frames.end..<frames.end + 1, on: clock).before[0]
        return min(place, max(source.frames.end - 1, 0))
    }

    override func advance() throws {
        // While the audio goes on, a frame waits for the one after it; the last one is held for a hop.
        let known = source.frames.end - (source.hasEnded ? 0 : 1)
        let start = frames.end
        let stop = framesBefore(known)
        if stop > start { frames.append(detected(start..<stop)) }
        hasEnded = source.hasEnded
    }

    /// The frames whose moment is before a frame of the source.
    private func framesBefore(_ position: Int) -> Int {
        let seconds = source.clock.moment(position)
        let place = (seconds * Double(clock.sampleRate) - clock.offset) / Double(clock.hopLength)
        var count = max(0, Int(place.rounded(.up)) + 1)
        while count > frames.end, source.clock.positions(of: count - 1..<count, on: clock).before[0] >= position {
            count -= 1
        }
        return count
    }

    private func detected(_ range: Range<Int>) -> Tensor {
        let (before, share) = source.clock.positions(of: range, on: clock)
        let first = before[0]
        let last = source.frames.end - 1
        let rows = source.frames.taken(first..<last + 1).floats
        let count = last + 1 - first
        let hertz = (0..<count).map { Double(rows[count + $0]) >= stage.threshold ? rows[$0] : 0 }
        let pitch = zip(before, share).map { place, share -> Float in
            let here = hertz[place - first]
            let after = hertz[min(place + 1, last) - first]
            if here > 0, after > 0 { return here * (1 - share) + after * share }
            return share < 0.5 ? here : after
        }
        return Tensor(pitch, shape: [1, pitch.count])
    }
}

/// The pitch, shifted by so many semitones, in hertz or bins.
final class PitchedTrack: MappedTrack {
    private let ratio: Float
    private let isBinned: Bool

    init(_ stage: PitchStage, _ source: Track, semitones: Double) throws {
        ratio = Float(pow(2, semitones / 12))
        isBinned = stage.gives == .bins
        try super.init(stage.name, [source])
    }

    override func mapped(_ frames: [Tensor], from start: Int) -> Tensor {
        let shifted = frames[0].floats.map { $0 * ratio }
        return Tensor(isBinned ? shifted.map(Self.bin) : shifted, shape: frames[0].shape)
    }

    /// 1 where it is unvoiced or at 50 Hz and below, to 255 at 1100 Hz and above, evenly in mel.
    private static func bin(_ hertz: Float) -> Float {
        func mel(_ hertz: Double) -> Double { 1127 * log1p(hertz / 700) }
        let scaled = (mel(Double(hertz)) - mel(50)) * 254 / (mel(1100) - mel(50)) + 1
        return Float(min(max(scaled, 1), 255).rounded(.toNearestOrEven))
    }
}

/// The pitch without its register, shifted by so many semitones, and whether there is one.
final class NormalisedTrack: MappedTrack {
    private var melody: Melody

    init(_ stage: PitchStage, _ source: Track, semitones: Double) throws {
        let frameRate = Double(source.clock.sampleRate) / Double(source.clock.hopLength)
        melody = Melody(frameRate: frameRate, semitones: semitones)
        try super.init(stage.name, [source])
        channels = 2
    }

    override func reset() throws {
        try super.reset()
        melody.reset()
    }

    override func mapped(_ frames: [Tensor], from start: Int) -> Tensor { melody.push(frames[0].floats) }
}

/// A sine at a pitch, whose phase goes on from frame to frame, and noise.
final class HarmonicTrack: MappedTrack {
    private let stage: HarmonicStage
    /// Turns at the end of what came.
    private var phase = 0.0

    init(_ stage: HarmonicStage, _ source: Track) throws {
        self.stage = stage
        try super.init(stage.name, [source])
        channels = stage.samples
    }

    override func reset() throws {
        try super.reset()
        phase = 0
    }

    override func mapped(_ frames: [Tensor], from start: Int) -> Tensor {
        let pitch = frames[0].floats
        let count = pitch.count
        var samples = frameNoise(rows: stage.samples, frames: start..<start + count, kind: "normal")
        for (frame, hertz) in pitch.enumerated() {
            let turn = Double(hertz) / Double(stage.sampleRate)
            let isVoiced = hertz > 0
            let amount = isVoiced ? stage.noise : stage.amplitude / 3
            for index in 0..<stage.samples {
                let angle = 2 * Double.pi * (phase + Double(index + 1) * turn)
                let sine = isVoiced ? stage.amplitude * sin(angle) : 0
                let place = index * count + frame
                samples[place] = Float(sine + amount * Double(samples[place]))
            }
            phase = (phase + turn * Double(stage.samples)).truncatingRemainder(dividingBy: 1)
        }
        return Tensor(samples, shape: [stage.samples, count])
    }
}
