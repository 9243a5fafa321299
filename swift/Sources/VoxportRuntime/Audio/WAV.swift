import Foundation

/// Recordings as WAV files: one channel of samples, full scale 1.0.
public struct WAV: Equatable, Sendable {
    public let samples: [Float]
    public let sampleRate: Int

    public init(samples: [Float], sampleRate: Int) {
        self.samples = samples
        self.sampleRate = sampleRate
    }

    /// Reads PCM of 16, 24 or 32 bits or float32; several channels are averaged.
    ///
    /// Throws ``VoxportError/audio(_:)`` for a file that is missing, of another kind, empty, or not finite.
    public init(contentsOf url: URL) throws {
        guard let data = try? Data(contentsOf: url) else {
            throw VoxportError.audio("there is no audio file \(url.path)")
        }
        func failed(_ reason: String) -> VoxportError {
            .audio("\(url.path) cannot be read as audio: \(reason)")
        }
        let bytes = [UInt8](data)
        func number(_ at: Int, _ width: Int) -> Int {
            (0..<width).reduce(0) { $0 | Int(bytes[at + $1]) << (8 * $1) }
        }
        func text(_ at: Int) -> String { String(decoding: bytes[at..<at + 4], as: UTF8.self) }
        guard bytes.count >= 12, text(0) == "RIFF", text(8) == "WAVE" else { throw failed("it is no WAV file") }
        var format: Format?
        var at = 12
        while at + 8 <= bytes.count {
            let start = at + 8
            let size = min(number(at + 4, 4), bytes.count - start)
            if text(at) == "fmt ", size >= 16 {
                // An extensible format has its kind at the beginning of the identifier at its end.
                let kind = number(start, 2) == 0xFFFE && size >= 26 ? number(start + 24, 2) : number(start, 2)
                format = Format(
                    kind: kind, channels: number(start + 2, 2), rate: number(start + 4, 4), bits: number(start + 14, 2))
            } else if text(at) == "data" {
                guard let format, format.isKnown else {
                    throw failed("it is neither PCM of 16, 24 or 32 bits nor float32")
                }
                samples = format.samples(of: bytes[start..<start + size])
                sampleRate = format.rate
                guard !samples.isEmpty else { throw VoxportError.audio("\(url.path) holds no samples") }
                if let wrong = samples.firstIndex(where: { !$0.isFinite }) {
                    let seconds = String(format: "%.3f", Double(wrong) / Double(sampleRate))
                    throw VoxportError.audio("\(url.path) holds a sample that is not finite, at \(seconds) s")
                }
                return
            }
            at = start + size + size % 2
        }
        throw failed("it has no samples")
    }

    /// Writes PCM of 16 bits, as whole file or not at all; what is beyond full scale is clipped.
    public func write(to url: URL) throws {
        let bytes = samples.count * 2
        guard bytes < 1 << 32 - 64 else { throw VoxportError.audio("\(url.path): a WAV file counts in 32 bits") }
        var data = Data(capacity: 44 + bytes)
        func append(_ number: Int, _ width: Int) {
            for byte in 0..<width { data.append(UInt8(number >> (8 * byte) & 0xFF)) }
        }
        data.append(contentsOf: Array("RIFF".utf8))
        append(36 + bytes, 4)
        data.append(contentsOf: Array("WAVEfmt ".utf8))
        for (number, width) in [(16, 4), (1, 2), (1, 2), (sampleRate, 4), (2 * sampleRate, 4), (2, 2), (16, 2)] {
            append(number, width)
        }
        data.append(contentsOf: Array("data".utf8))
        append(bytes, 4)
        for sample in samples {
            // As libsndfile rounds where it clips: down, at 1 / 32768.
            append(Int(max(-32768, min(32767, (sample * 32768).rounded(.down)))) & 0xFFFF, 2)
        }
        do {
            try data.write(to: url, options: .atomic)
        } catch {
            throw VoxportError.audio("\(url.path) could not be written: \(error.localizedDescription)")
        }
    }

    private struct Format {
        let kind: Int
        let channels: Int
        let rate: Int
        let bits: Int

        var isKnown: Bool {
            channels > 0 && rate > 0 && (kind == 1 && [16, 24, 32].contains(bits) || kind == 3 && bits == 32)
        }

        func samples(of bytes: ArraySlice<UInt8>) -> [Float] {
            let width = bits / 8
            let frame = width * channels
            return (0..<bytes.count / frame).map { index in
                var sum: Float = 0
                for channel in 0..<channels {
                    sum += sample(bytes, bytes.startIndex + index * frame + channel * width, width)
                }
                return sum / Float(channels)
            }
        }

        private func sample(_ bytes: ArraySlice<UInt8>, _ at: Int, _ width: Int) -> Float {
            // Into the upper bytes, so that the sign is where it belongs.
            var pattern: UInt32 = 0
            for byte in 0..<width { pattern |= UInt32(bytes[at + byte]) << (8 * (4 - width + byte)) }
            return kind == 3 ? Float(bitPattern: pattern) : Float(Int32(bitPattern: pattern)) / 0x1p31
        }
    }
}
