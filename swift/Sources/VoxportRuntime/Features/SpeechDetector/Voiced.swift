/// Samples at 16 kHz without the silences that last, by WebRTC's detector of speech in its strictest mode: windows of
/// 30 ms, what they are found to be averaged over eight, silences of up to six kept. The end that fills no window is left
/// out.
///
/// As Python's `runtime/speech/voiced.py`.
func voiced(_ samples: [Float]) -> [Float] {
    let size = SpeechDetector.window
    var detector = SpeechDetector()
    let starts = Array(stride(from: 0, through: samples.count - size, by: size))
    let isSpeech = starts.map { start in
        let window = samples[start..<start + size].map { sample in
            Int16((min(max(sample, -1), 1) * 32767).rounded(.toNearestOrEven))
        }
        return detector.isSpeech(window)
    }
    return zip(starts, kept(isSpeech)).flatMap { start, isKept in isKept ? Array(samples[start..<start + size]) : [] }
}

/// Which windows stay: those that have a neighbourhood of mostly speech nearby.
private func kept(_ isSpeech: [Bool]) -> [Bool] {
    func count(_ window: Int, _ reach: ClosedRange<Int>, of flags: [Bool]) -> Int {
        reach.filter { flags.indices.contains(window + $0) && flags[window + $0] }.count
    }
    let mostly = isSpeech.indices.map { count($0, -3...4, of: isSpeech) > 4 }
    return mostly.indices.map { count($0, -3...3, of: mostly) > 0 }
}
