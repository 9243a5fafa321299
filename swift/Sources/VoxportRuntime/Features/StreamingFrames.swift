/// What lies beyond the ends of audio. The raw values are `numpy.pad`'s modes.
public enum BorderMode: String, Codable, Sendable {
    case reflect, constant, edge, symmetric, wrap
}

/// How features of which each frame is a window's own lie over the audio.
struct FrameLayout {
    let sampleRate: Int
    let nFft: Int
    let hopLength: Int
    /// Samples by which the first window reaches before the audio, and the last one after it.
    let border: Int
    let borderMode: BorderMode
    /// The share of the sample before that is taken off each sample.
    let preemphasis: Double
    /// Rows that the kernel makes.
    let channels: Int
    /// Rows of noise below them.
    let noiseRows: Int
    let noise: String
}

/// Makes one frame of a window of samples.
protocol FrameKernel {
    /// Writes the frame of a number, of `nFft` samples with their borders and emphasis, its values `stride` apart.
    func frame(of samples: UnsafePointer<Float>, number: Int, into column: UnsafeMutablePointer<Float>, stride: Int)

    /// Hands back the memory.
    func deallocate()
}

/// Frames of audio that arrives in blocks of any size; in all those of the whole audio, bit for bit.
///
/// A frame comes out when its window is complete: `border` samples after its middle.
public final class StreamingFrames {
    private let layout: FrameLayout
    private let kernel: any FrameKernel
    /// Samples that windows still need, the left border included once it is there.
    private var held: [Float] = []
    private var hasBorder = false
    private var last: Float = 0
    private var hasEnded = false

    /// Frames given so far.
    public private(set) var frames = 0

    init(framing layout: FrameLayout, kernel: any FrameKernel) {
        self.layout = layout
        self.kernel = kernel
    }

    deinit { kernel.deallocate() }

    /// The rows of a frame.
    public var channels: Int { layout.channels + layout.noiseRows }

    /// Samples at this rate are taken.
    public var sampleRate: Int { layout.sampleRate }

    /// Samples that a frame is made of.
    public var windowLength: Int { layout.nFft }

    /// Samples after the end of its hop that a frame waits for.
    public var latency: Int { layout.nFft - layout.border - layout.hopLength }

    /// Begins anew: the next sample is the first.
    public func reset() {
        held.removeAll(keepingCapacity: true)
        hasBorder = false
        last = 0
        hasEnded = false
        frames = 0
    }

    /// Takes the next samples. Returns the frames that they complete, (channels, frames).
    ///
    /// Throws ``VoxportError/stream(_:)`` after ``flush()``.
    public func push(_ samples: [Float]) throws -> Tensor {
        if hasEnded { throw VoxportError.stream("the audio has ended: reset() begins anew") }
        if layout.preemphasis == 0 {
            held += samples
        } else {
            for sample in samples {
                held.append(Float(Double(sample) - layout.preemphasis * Double(last)))
                last = sample
            }
        }
        if !hasBorder {
            // A window's reflection needs as many samples as it is long on one side, and one more.
            guard held.count > layout.nFft / 2 else { return complete(0) }
            held = layout.borderMode.before(held, layout.border) + held
            hasBorder = true
        }
        // The border at the end is made of samples that must still be there then.
        let keep = layout.border + 1
        return complete(min(windows, max(0, (held.count - keep) / layout.hopLength)))
    }

    /// Ends the audio. Returns the last frames, whose windows reach over its end; once more gives none.
    ///
    /// Throws ``VoxportError/audio(_:)`` where the audio was too short for one window.
    public func flush() throws -> Tensor {
        if hasEnded { return complete(0) }
        guard hasBorder else {
            throw VoxportError.audio("\(held.count) samples are too short for a window of \(layout.nFft)")
        }
        hasEnded = true
        held += layout.borderMode.after(held, layout.border)
        return complete(windows)
    }

    /// Windows that are complete.
    private var windows: Int { held.count < layout.nFft ? 0 : (held.count - layout.nFft) / layout.hopLength + 1 }

    /// The next frames, whose hops are left behind then.
    private func complete(_ count: Int) -> Tensor {
        let first = frames
        let values = [Float](unsafeUninitializedCapacity: layout.channels * count) { buffer, filled in
            held.withUnsafeBufferPointer { samples in
                for frame in 0..<count {
                    kernel.frame(
                        of: samples.baseAddress! + frame * layout.hopLength, number: first + frame,
                        into: buffer.baseAddress! + frame, stride: count)
                }
            }
            filled = layout.channels * count
        }
        held.removeFirst(count * layout.hopLength)
        frames += count
        let rows = frameNoise(rows: layout.noiseRows, frames: first..<frames, kind: layout.noise)
        return Tensor(values + rows, shape: [channels, count])
    }
}

extension BorderMode {
    /// What lies before samples, of which there are more than `count`.
    func before(_ samples: [Float], _ count: Int) -> [Float] {
        switch self {
        case .reflect: return samples[1..<count + 1].reversed()
        case .symmetric: return samples[0..<count].reversed()
        case .edge: return Array(repeating: samples[0], count: count)
        case .constant: return Array(repeating: 0, count: count)
        case .wrap: return Array(samples[(samples.count - count)...])
        }
    }

    /// What lies behind them.
    func after(_ samples: [Float], _ count: Int) -> [Float] {
        let size = samples.count
        switch self {
        case .reflect: return samples[size - 1 - count..<size - 1].reversed()
        case .symmetric: return samples[(size - count)...].reversed()
        case .edge: return Array(repeating: samples[size - 1], count: count)
        case .constant: return Array(repeating: 0, count: count)
        case .wrap: return Array(samples[0..<count])
        }
    }
}
