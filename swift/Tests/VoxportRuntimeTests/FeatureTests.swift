import Foundation
import Testing

@testable import VoxportRuntime

@Suite struct Fourier {
    @Test(arguments: [2, 6, 8, 14, 20, 22, 256, 400, 512, 800, 1024, 1200, 2048])
    func powerIsThatOfTheSlowTransform(size: Int) {
        let samples = (0..<size).map { Float(($0 * 7919) % 31) / 31 - 0.5 }
        let fft = RealFFT(size: size)
        defer { fft.deallocate() }
        var power = [Float](repeating: 0, count: size / 2 + 1)
        fft.power(of: samples, into: &power)
        let angles = (0..<size).map { -2 * Double.pi * Double($0) / Double(size) }
        let (cosines, sines) = (angles.map(cos), angles.map(sin))
        var worst = 0.0
        for k in 0...size / 2 {
            var re = 0.0
            var im = 0.0
            for t in 0..<size {
                re += Double(samples[t]) * cosines[(t * k) % size]
                im += Double(samples[t]) * sines[(t * k) % size]
            }
            worst = max(worst, abs(Double(power[k]).squareRoot() - (re * re + im * im).squareRoot()))
        }
        #expect(worst < 2e-5 * Double(size).squareRoot())
    }
}

@Suite struct LogMel {
    struct Case: Decodable {
        let name: String
        let settings: Mel
        let blocks: [Int]
        let arrays: String
    }

    @Test(.enabled(if: Fixtures.areThere)) func bandsAreLibrosasToTheLastBit() throws {
        for one in try Fixtures.cases("mel", Case.self) {
            let python = try Fixtures.floats("\(one.arrays)/basis")
            let swift = one.settings.basis.flatMap { $0 }
            let differing = zip(python, swift).filter { $0.0 != $0.1 }.count
            #expect(differing == 0 && python.count == swift.count, "\(one.name): \(differing) of \(python.count)")
            report("mel basis, \(one.name)", "\(differing) of \(python.count) differ")
        }
    }

    @Test(.enabled(if: Fixtures.areThere)) func spectrogramsArePythons() throws {
        for one in try Fixtures.cases("mel", Case.self) {
            let mel = try one.settings.spectrogram(of: Fixtures.floats("\(one.arrays)/sound"))
            let python = try Fixtures.tensor("\(one.arrays)/mel")
            #expect(mel.shape == python.shape)
            let difference = worst(mel.floats, python.floats)
            #expect(difference < 5e-4, "\(one.name)")
            report("mel, \(one.name)", "worst \(difference)")
        }
    }

    @Test(.enabled(if: Fixtures.areThere)) func framesComeOutWhenPythonsDoAndAreThoseOfTheWhole() throws {
        for one in try Fixtures.cases("mel", Case.self) {
            let sound = try Fixtures.floats("\(one.arrays)/sound")
            let whole = try one.settings.spectrogram(of: sound)
            for block in one.blocks {
                let stream = try one.settings.stream()
                var came: [Float] = []
                var pieces: [Tensor] = []
                for start in stride(from: 0, to: sound.count, by: block) {
                    let frames = try stream.push(Array(sound[start..<min(start + block, sound.count)]))
                    came += Array(repeating: Float(start + block), count: frames.shape[1])
                    pieces.append(frames)
                }
                pieces.append(try stream.flush())
                #expect(try came == Fixtures.floats("\(one.arrays)/came_\(block)"), "\(one.name), \(block)")
                #expect(Tensor.joined(pieces, along: 1) == whole, "\(one.name), \(block)")
            }
        }
        report("timing of frames", "equal for every block size, and frames bit for bit those of the whole")
    }

    @Test func settingsThatAreNoneAreSentences() {
        var mel = Mel()
        mel.winLength = 2048
        #expect(throws: VoxportError.audio("win_length 2048 is larger than n_fft 1024")) { try mel.stream() }
        #expect(throws: VoxportError.audio("512 samples are too short for a window of 1024")) {
            try Mel().spectrogram(of: [Float](repeating: 0, count: 512))
        }
    }
}

@Suite struct Speakers {
    struct Case: Decodable {
        let name: String
        let features: Features
        let arrays: String
    }

    @Test(.enabled(if: Fixtures.areThere)) func whatAnEncoderIsGivenAndWhatBecomesOfItIsPythons() throws {
        for one in try Fixtures.cases("speaker", Case.self) {
            let sound = try Fixtures.floats("\(one.arrays)/sound")
            #expect(try trimmed(sound) == Fixtures.floats("\(one.arrays)/trimmed"), "\(one.name)")
            let wanted = try Fixtures.tensor("\(one.arrays)/windows")
            var given = Tensor(zeros: [0])
            let embedding = try targetEmbedding(of: sound, one.features, length: 160) { windows in
                given = windows
                let size = windows.shape[2]
                let sums = stride(from: 0, to: windows.count, by: size).map {
                    windows.floats[$0..<$0 + size].reduce(0, +)
                }
                return Tensor(sums, shape: Array(windows.shape.dropLast()))
            }
            try #require(given.shape == wanted.shape, "\(one.name)")
            let largest = wanted.floats.map(abs).max()!
            let difference = worst(given.floats, wanted.floats) / largest
            #expect(difference < 1e-5, "\(one.name)")
            let python = try Fixtures.tensor("\(one.arrays)/embedding")
            try #require(embedding.shape == python.shape, "\(one.name)")
            let apart = worst(embedding.floats, python.floats) / python.floats.map(abs).max()!
            #expect(apart < 1e-4, "\(one.name)")
            report("embedding, \(one.name)", "worst \(apart) of the largest")
            report("speaker, \(one.name)", "\(wanted.shape): worst \(difference) of the largest")
        }
    }

    struct VoicedCase: Decodable {
        let name: String
        let arrays: String
    }

    @Test(.enabled(if: Fixtures.areThere)) func whatIsTakenForSpeechIsWhatWebRTCsLibraryTakesForIt() throws {
        for one in try Fixtures.cases("voiced", VoicedCase.self) {
            let sound = try Fixtures.floats("\(one.arrays)/sound")
            let python = try Fixtures.floats("\(one.arrays)/voiced")
            let swift = voiced(sound)
            #expect(worst(swift, python) == 0, "\(one.name)")
            report("speech in \(one.name)", "\(swift.count / 480) of \(sound.count / 480) windows, equal")
        }
    }

    private func settings(sampleRate: Int) throws -> SpeakerMel {
        try JSONDecoder().decode(
            SpeakerMel.self,
            from: Data(
                """
                {"kind": "speaker_mel", "sampleRate": \(sampleRate), "nFft": 400, "winLength": 400, "hopLength": 160,
                 "nMels": 40, "window": "hann", "htk": false, "preemphasis": 0, "partialFrames": 160, "overlap": 0.5,
                 "leastCoverage": 0.75, "trimsSilence": true}
                """.utf8))
    }

    @Test func whatIsNoSpeechIsASentence() throws {
        let settings = try settings(sampleRate: 16000)
        for samples in [[], [Float](repeating: 0, count: 100), [.nan]] {
            #expect(throws: VoxportError.self) { try settings.windows(of: samples) }
        }
    }

    @Test func aRateThatTheDetectorOfSpeechDoesNotHearIsASentence() throws {
        let encoder = "this speaker encoder reads audio of 22050 Hz without its silences"
        let reason = "\(encoder), and the detector of speech here hears 16000 Hz alone"
        #expect(throws: VoxportError.audio(reason)) {
            try settings(sampleRate: 22050).windows(of: [Float](repeating: 0.1, count: 4000))
        }
    }
}

@Suite struct Resampling {
    @Test(arguments: [(48000, 22050), (22050, 48000), (44100, 16000), (16000, 24000), (22050, 44100)])
    func aSineStaysASine(rates: (from: Int, to: Int)) throws {
        let seconds = 0.3
        for share in [0.03, 0.4, 0.85] {
            let hertz = share * Double(min(rates.from, rates.to)) / 2
            func sine(_ rate: Int) -> [Float] {
                (0..<Int(seconds * Double(rate))).map { Float(sin(2 * Double.pi * hertz * Double($0) / Double(rate))) }
            }
            let resampler = try Resampler(from: rates.from, to: rates.to)
            let output = try resampler.push(sine(rates.from)) + resampler.flush()
            let ideal = sine(rates.to)
            #expect(output.count == ideal.count)
            // The edges of the sine are edges for the filter too.
            let edge = Int(resampler.delay * Double(rates.to)) + 1
            let inner = edge..<min(ideal.count, output.count) - edge
            let ratio = snr(Array(ideal[inner]), Array(output[inner]))
            #expect(ratio > 100, "\(rates.from) to \(rates.to) Hz at \(hertz) Hz")
            report("resampler \(rates.from) to \(rates.to) Hz, \(Int(hertz)) Hz", "SNR \(Int(ratio)) dB")
        }
    }

    @Test func whatAliasesIsNotHeard() throws {
        let samples = (0..<24000).map { Float(sin(2 * Double.pi * 11500 * Double($0) / 48000)) }
        let resampler = try Resampler(from: 48000, to: 22050)
        let output = try resampler.push(samples) + resampler.flush()
        let inner = output[2000..<output.count - 2000]
        #expect(inner.map(abs).max()! < 2e-5)  // -94 dB
    }

    @Test(arguments: [1, 7, 128, 1000]) func blocksMakeNoDifferenceToTheLastBit(block: Int) throws {
        let samples = (0..<5000).map { Float(($0 * 7919) % 1000) / 1000 - 0.5 }
        let resampler = try Resampler(from: 48000, to: 22050)
        let whole = try resampler.push(samples) + resampler.flush()
        resampler.reset()
        var pieces: [Float] = []
        var lag = 0.0
        for start in stride(from: 0, to: samples.count, by: block) {
            let end = min(start + block, samples.count)
            pieces += try resampler.push(Array(samples[start..<end]))
            lag = max(lag, Double(end) / 48000 - Double(pieces.count) / 22050)
        }
        pieces += resampler.flush()
        #expect(pieces == whole)
        #expect(lag <= resampler.delay + 1 / 22050.0)
    }

    struct Case: Decodable {
        let rateIn: Int
        let rateOut: Int
        let arrays: String
    }

    @Test(.enabled(if: Fixtures.areThere)) func theFilterOfLiveAudioIsPythonsBlockByBlock() throws {
        var largest: Float = 0
        for one in try Fixtures.cases("resampler", Case.self) {
            let resampler = try Resampler(from: one.rateIn, to: one.rateOut, quality: .prompt)
            let sound = try Fixtures.floats("\(one.arrays)/sound")
            var samples: [Float] = []
            var counts: [Float] = []
            for start in stride(from: 0, to: sound.count, by: 128) {
                let piece = try resampler.push(Array(sound[start..<min(start + 128, sound.count)]))
                counts.append(Float(piece.count))
                samples += piece
            }
            samples += resampler.flush()
            let what: Comment = "\(one.rateIn) to \(one.rateOut) Hz"
            #expect(try counts == Fixtures.floats("\(one.arrays)/counts"), what)
            largest = max(largest, try worst(samples, Fixtures.floats("\(one.arrays)/resampled")))
        }
        #expect(largest < 1e-6)
        report("the filter of live audio", "worst \(largest), blocks exactly")
    }

    @Test func equalRatesPassThrough() throws {
        let resampler = try Resampler(from: 22050, to: 22050)
        #expect(try resampler.push([1, 2, 3]) == [1, 2, 3])
        #expect(resampler.flush().isEmpty)
        #expect(resampler.delay == 0)
    }
}
