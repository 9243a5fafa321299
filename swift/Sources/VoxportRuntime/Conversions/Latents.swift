import Synchronization

/// The latents between an encoder and a decoder, as a user moves them while audio comes, from any thread but a device's
/// callback: moving them locks, and allocates nothing.
///
/// A change holds from the next frame on, and through a reset.
public final class Latents: Sendable {
    public let count: Int
    private let controls: Mutex<[Control]>

    struct Control {
        var scale: Float = 1
        var bias: Float = 0
    }

    init(count: Int) {
        self.count = count
        controls = Mutex([Control](repeating: Control(), count: count))
    }

    /// Multiplies a latent, counted from 0, by `scale` and adds `bias`.
    ///
    /// Throws ``VoxportError/bundle(_:)`` for one that there is not, or no number.
    public func control(_ latent: Int, scale: Float = 1, bias: Float = 0) throws {
        guard (0..<count).contains(latent) else {
            throw VoxportError.bundle("there is no latent \(latent): this bundle's are 0 to \(count - 1)")
        }
        guard scale.isFinite, bias.isFinite else {
            throw VoxportError.bundle("latent \(latent) cannot be scaled by \(scale) and moved by \(bias)")
        }
        controls.withLock { $0[latent] = Control(scale: scale, bias: bias) }
    }

    /// Moves values of as many rows as there are latents. They stay locked for as long, so that no copy of theirs is made.
    func move(_ values: inout [Float]) {
        guard count > 0 else { return }
        let frames = values.count / count
        controls.withLock { controls in
            for index in values.indices {
                let control = controls[index / frames]
                values[index] = values[index] * control.scale + control.bias
            }
        }
    }
}

/// Each latent times its scale, plus its bias.
final class LatentTrack: MappedTrack {
    let latents: Latents

    init(_ stage: LatentStage, _ source: Track) throws {
        latents = Latents(count: source.channels)
        try super.init(stage.name, [source])
        channels = source.channels
    }

    override func mapped(_ frames: [Tensor], from start: Int) -> Tensor {
        var values = frames[0].floats
        latents.move(&values)
        return Tensor(values, shape: frames[0].shape)
    }
}
