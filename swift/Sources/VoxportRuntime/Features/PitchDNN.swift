import Foundation
import OpusPitch

/// opus's detector of pitch, frame by frame: causal, recurrent, numbers of 64 bits (compute_pitchdnn and the end of
/// compute_frame_features of opus 1.5.2; Python's `runtime/speech/bark.py`).
///
/// As `MelKernel`: pointers and numbers only, but for the states, which lie behind pointers too.
struct PitchDNN {
    private static var phases: Int { 64 }
    private static var maps: Int { 4 }
    private static var width: Int { 64 }
    private static var bins: Int { 180 }
    private static var perOctave: Double { 60 }
    /// Bins on both sides of the highest that are averaged.
    private static var beside: Int { 2 }

    private let phases1: Dense
    private let phases2: Dense
    private let periods1: Convolution
    private let periods2: Convolution
    private let joined: Dense
    private let given: Dense
    private let kept: Dense
    private let salience: Dense
    private let state: UnsafeMutablePointer<Double>
    private let first: UnsafeMutablePointer<Double>
    private let second: UnsafeMutablePointer<Double>
    private let gates: UnsafeMutablePointer<Double>

    /// Throws ``VoxportError/bundle(_:)`` where the weights that belong to this package are not there.
    init() throws {
        guard let url = OpusPitch.weights else {
            throw VoxportError.bundle("the weights of opus's pitch detector (pitch.npz) are not beside this program")
        }
        let weights = try NPZ(contentsOf: url)
        func dense(_ weight: String, _ bias: String, _ inputs: Int, _ outputs: Int) throws -> Dense {
            let (matrix, vector) = (try weights.tensor(weight), try weights.tensor(bias))
            guard matrix.shape == [outputs, inputs], vector.shape == [outputs] else {
                throw VoxportError.bundle("pitch.npz does not hold the layers of opus's pitch detector (\(weight))")
            }
            return Dense(matrix.floats, vector.floats)
        }
        func layer(_ name: String, _ inputs: Int, _ outputs: Int) throws -> Dense {
            try dense("\(name).weight", "\(name).bias", inputs, outputs)
        }
        func recurrent(_ kind: String) throws -> Dense {
            try dense("recurrent.weight_\(kind)_l0", "recurrent.bias_\(kind)_l0", Self.width, 3 * Self.width)
        }
        func convolution(_ name: String, _ inputs: Int, _ outputs: Int) throws -> Convolution {
            let (matrix, vector) = (try weights.tensor("\(name).weight"), try weights.tensor("\(name).bias"))
            guard matrix.shape == [outputs, inputs, 3, 3], vector.shape == [outputs] else {
                throw VoxportError.bundle("pitch.npz does not hold the layers of opus's pitch detector (\(name))")
            }
            return Convolution(matrix.floats, vector.floats, inputs: inputs)
        }
        phases1 = try layer("phases_1", Opus.phaseRows, Self.phases)
        phases2 = try layer("phases_2", Self.phases, Self.phases)
        periods1 = try convolution("periods_1", 1, Self.maps)
        periods2 = try convolution("periods_2", Self.maps, 1)
        joined = try layer("joined", Opus.lags + Self.phases, Self.width)
        given = try recurrent("ih")
        kept = try recurrent("hh")
        salience = try layer("salience", Self.width, 192)
        state = .zeros(Self.width)
        first = .zeros(Self.maps * Opus.lags)
        second = .zeros(Opus.lags + Self.phases)
        gates = .zeros(6 * Self.width)
    }

    func deallocate() {
        for layer in [phases1, phases2, joined, given, kept, salience] { layer.deallocate() }
        for layer in [periods1, periods2] { layer.deallocate() }
        for pointer in [state, first, second, gates] { pointer.deallocate() }
    }

    /// Begins anew.
    func reset() {
        state.update(repeating: 0, count: Self.width)
        periods1.reset()
        periods2.reset()
    }

    /// Of a frame of the excitation: the pitch, log2 of 256 / period less 1.5; how alike the excitation is to itself a
    /// period before, 0 to 1 less 0.5; and the period, rounded.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func push(_ excitation: UnsafePointer<Float>) -> (pitch: Double, correlation: Double, period: Double) {
        for index in 0..<Opus.phaseRows { second[index] = Double(excitation[index]) }
        phases1.run(second, into: first)
        squash(first, Self.phases)
        phases2.run(first, into: second + Opus.lags)
        squash(second + Opus.lags, Self.phases)
        for lag in 0..<Opus.lags { second[lag] = Double(excitation[Opus.phaseRows + lag]) }
        periods1.run(second, into: first)
        squash(first, Self.maps * Opus.lags)
        periods2.run(first, into: second)
        squash(second, Opus.lags)
        joined.run(second, into: first)
        squash(first, Self.width)
        recur(first)
        salience.run(state, into: first)
        return read(first, excitation + Opus.phaseRows + Opus.lags)
    }

    /// The highest of the logits and its neighbours, and what is a period before there.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    private func read(
        _ logits: UnsafePointer<Double>, _ correlations: UnsafePointer<Float>
    ) -> (pitch: Double, correlation: Double, period: Double) {
        var peak = 0
        for bin in 1..<Self.bins where logits[bin] > logits[peak] { peak = bin }
        var total = 0.0
        var weighed = 0.0
        var bin = peak - Self.beside < 0 ? 0 : peak - Self.beside
        while bin <= peak + Self.beside, bin < Self.bins {
            let share = _unsafePerformance { exp(logits[bin] - logits[peak]) }
            total += share
            weighed += share * Double(bin)
            bin += 1
        }
        let octaves = weighed / total / Self.perOctave
        return _unsafePerformance {
            let period = (0.5 + Double(Opus.longest) / exp2(octaves)).rounded(.down)
            let correlation = Double(correlations[min(Opus.longest - Int(period), Opus.lags - 1)])
            // opus's curve from a correlation to how voiced a frame is.
            let voiced = log1p(exp(5 * correlation)) / log1p(exp(5))
            return (octaves - 1.5, voiced - 0.5, period)
        }
    }

    /// A gated recurrent unit, whose reset gate comes first.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    private func recur(_ input: UnsafePointer<Double>) {
        let width = Self.width
        let own = gates + 3 * width
        given.run(input, into: gates)
        kept.run(state, into: own)
        for index in 0..<width {
            _unsafePerformance {
                let reset = 1 / (1 + exp(-(gates[index] + own[index])))
                let update = 1 / (1 + exp(-(gates[width + index] + own[width + index])))
                let new = tanh(gates[2 * width + index] + reset * own[2 * width + index])
                state[index] = update * state[index] + (1 - update) * new
            }
        }
    }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    private func squash(_ values: UnsafeMutablePointer<Double>, _ count: Int) {
        for index in 0..<count { values[index] = _unsafePerformance { tanh(values[index]) } }
    }
}

/// A matrix times a vector, plus a vector.
private struct Dense {
    private let inputs: Int
    private let outputs: Int
    private let weight: UnsafeMutablePointer<Double>
    private let bias: UnsafeMutablePointer<Double>

    init(_ weight: [Float], _ bias: [Float]) {
        outputs = bias.count
        inputs = weight.count / bias.count
        self.weight = .filled(with: weight)
        self.bias = .filled(with: bias)
    }

    func deallocate() {
        weight.deallocate()
        bias.deallocate()
    }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func run(_ vector: UnsafePointer<Double>, into result: UnsafeMutablePointer<Double>) {
        for row in 0..<outputs {
            var sum = bias[row]
            let weights = weight + row * inputs
            for column in 0..<inputs { sum += weights[column] * vector[column] }
            result[row] = sum
        }
    }
}

/// Maps of correlations by period, of three periods and of this frame and the two before.
private struct Convolution {
    private let inputs: Int
    private let outputs: Int
    /// (outputs, inputs, periods, frames).
    private let weight: UnsafeMutablePointer<Double>
    private let bias: UnsafeMutablePointer<Double>
    /// (frames, inputs, lags), the oldest frame first.
    private let frames: UnsafeMutablePointer<Double>

    init(_ weight: [Float], _ bias: [Float], inputs: Int) {
        self.inputs = inputs
        outputs = bias.count
        self.weight = .filled(with: weight)
        self.bias = .filled(with: bias)
        frames = .zeros(3 * inputs * Opus.lags)
    }

    func deallocate() { for pointer in [weight, bias, frames] { pointer.deallocate() } }

    func reset() { frames.update(repeating: 0, count: 3 * inputs * Opus.lags) }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func run(_ maps: UnsafePointer<Double>, into result: UnsafeMutablePointer<Double>) {
        let size = inputs * Opus.lags
        for index in 0..<2 * size { frames[index] = frames[size + index] }
        for index in 0..<size { frames[2 * size + index] = maps[index] }
        for output in 0..<outputs {
            for lag in 0..<Opus.lags {
                var sum = bias[output]
                for input in 0..<inputs {
                    let weights = weight + (output * inputs + input) * 9
                    for step in 0..<3 where 0..<Opus.lags ~= lag + step - 1 {
                        for frame in 0..<3 {
                            let place = (frame * inputs + input) * Opus.lags + lag + step - 1
                            sum += weights[3 * step + frame] * frames[place]
                        }
                    }
                }
                result[output * Opus.lags + lag] = sum
            }
        }
    }
}
