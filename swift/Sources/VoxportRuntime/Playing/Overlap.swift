/// One call of an offline artefact: input frames `start` to `stop` - 1, of whose output those from `keepFrom` to
/// `keepTo` - 1 are kept.
struct Piece: Equatable {
    let start: Int
    let stop: Int
    let keepFrom: Int
    let keepTo: Int
}

/// How long audio is covered by pieces that overlap.
///
/// An edge of a piece is either an edge of the utterance, where the network's own padding is the offline one, or lies a
/// receptive field away from every sample that is kept: so kept samples equal the offline ones.
struct Overlapping {
    /// The frames that the artefact takes in one call.
    let window: Dim
    let left: Int
    let right: Int
    let chunk: Int

    /// `chunk`: new frames per call; nil for all that fit beside the halo in the window's default length.
    ///
    /// Throws ``VoxportError/stream(_:)`` where not even one does.
    init(window: Dim, left: Int, right: Int, chunk: Int? = nil) throws {
        self.window = window
        self.left = left
        self.right = right
        let fitting = [window.default, window.hi].first { $0 > left + right }
        guard let chunk = chunk ?? fitting.map({ $0 - left - right }) else {
            throw VoxportError.stream(
                "the artefact takes \(window.text) frames at once, its receptive field alone is \(left) + \(right): "
                    + "convert with shape.frames > \(left + right) to stream it")
        }
        guard chunk >= 1 else { throw VoxportError.stream("a chunk needs at least 1 frame, got \(chunk)") }
        self.chunk = chunk
    }

    /// The pieces of an utterance. Throws where it is too short for the window, or the window for a chunk.
    func pieces(_ total: Int) throws -> [Piece] {
        guard total >= window.lo else {
            throw VoxportError.stream(
                "\(total) frames are fewer than the artefact takes (\(window.text)): its own padding would start too "
                    + "late; convert with a smaller shape.frames or with shape=flexible")
        }
        if chunk >= total, total <= window.hi { return [Piece(start: 0, stop: total, keepFrom: 0, keepTo: total)] }
        try checkFits()
        return stride(from: 0, to: total, by: chunk).map { piece($0, total) }
    }

    /// Throws ``VoxportError/stream(_:)`` where the window cannot hold a chunk and its halo.
    func checkFits() throws {
        let halo = left + right
        guard chunk + halo <= window.hi else {
            throw VoxportError.stream(
                "a chunk of \(chunk) frames needs \(left) + \(chunk) + \(right) frames at once, the artefact takes "
                    + "\(window.text): use chunk <= \(window.hi - halo) or convert with more shape.frames")
        }
    }

    /// The piece whose output is kept from a frame on, of an utterance of `total` frames. A fixed window slides inwards
    /// at the end of the utterance instead of reading past it.
    func piece(_ keepFrom: Int, _ total: Int) -> Piece {
        let keepTo = min(keepFrom + chunk, total)
        var start = max(keepFrom - left, 0)
        let stop = min(keepTo + right, total)
        let length = min(max(stop - start, window.lo), total)
        start = min(start, total - length)
        return Piece(start: start, stop: start + length, keepFrom: keepFrom, keepTo: keepTo)
    }

    /// Frames of an utterance whose end is not known yet.
    static let noEnd = 1 << 62
}
