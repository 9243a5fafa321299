import Foundation
import VoxportCoreML
import VoxportONNX
import VoxportRuntime

/// The options that say how a bundle is executed.
let executing: Set<String> = ["engine", "units", "cache", "lowered", "onnxruntime", "threads"]

/// What a bundle holds.
func info(_ arguments: Arguments) throws {
    let bundle = try VoxportBundle(contentsOf: arguments.folder(0, "BUNDLE"))
    let manifest = bundle.manifest
    var facts: [(String, String)] = [
        ("bundle", manifest.name), ("created", manifest.created),
        ("checkpoint", "\(manifest.checkpoint.name) (\(manifest.checkpoint.licence)), \(manifest.checkpoint.source)"),
        ("options", "\(manifest.options.format) \(manifest.options.precision), \(manifest.options.mode)"),
    ]
    for component in manifest.components {
        let inputs = component.inputs.map(\.description).joined(separator: ", ")
        let outputs = component.outputs.map(\.description).joined(separator: ", ")
        facts.append((component.name, "\(inputs) -> \(outputs)"))
    }
    let main = try bundle.main
    if let form = main.stream {
        let kind = form.exact ? "exact" : "approximate"
        facts.append(("stream", "\(form.mode.rawValue), \(kind), chunks of \(form.chunk) frames"))
        facts.append(("lookahead", "\(form.lookahead) frames"))
    }
    if let time = main.time {
        facts.append(("receptive field", "\(time.left) frames before, \(time.right) after"))
        facts.append(("sample_rate", "\(time.sampleRate)"))
    }
    show(facts)
}

/// Whether a bundle's files are those that were written.
func verify(_ arguments: Arguments) throws {
    let bundle = try VoxportBundle(contentsOf: arguments.folder(0, "BUNDLE"))
    show([("bundle", bundle.manifest.name), ("files", "\(try bundle.verify()) as they were written")])
}

/// Frames of an utterance through a component that runs along time: an array in, an array out.
func play(_ arguments: Arguments) async throws {
    let bundle = try VoxportBundle(contentsOf: arguments.folder(0, "BUNDLE"))
    let arrays = try NPZ(contentsOf: arguments.folder(1, "IN.npz"))
    let player = try makePlayer(
        bundle, engines: try await engines(arguments, bundle), mode: mode(arguments), chunk: arguments.number("chunk"))
    let output = try player.play(arrays.tensor(player.time.input))
    try NPZ.write([player.time.output: output], to: arguments.folder(2, "OUT.npz"))
    show([("mode", player.mode), (player.time.output, "\(output.type.rawValue) \(output.shape)")])
}

/// A recording through a vocoder, or in another voice.
func vocode(_ arguments: Arguments) async throws {
    let bundle = try VoxportBundle(contentsOf: arguments.folder(0, "BUNDLE"))
    let source = try WAV(contentsOf: arguments.folder(1, "IN.wav"))
    let target = try arguments.folder(2, "OUT.wav")
    let engines = try await engines(arguments, bundle)
    let chain = try ConversionChain(
        bundle, engines: engines, sampleRate: source.sampleRate, target: voice(arguments, bundle, engines),
        semitones: arguments.decimal("pitch") ?? 0, mode: mode(arguments),
        chunk: arguments.number("chunk"))
    try control(chain, arguments)
    // Silence behind a frame that is not whole, or audio that is shorter than the artefact takes; it is cut off again.
    let isShort = Double(source.samples.count) < chain.shortest * Double(source.sampleRate)
    let padding = chain.padded(source.samples.count) - source.samples.count
    let samples = source.samples + [Float](repeating: 0, count: padding)
    let started = Date()
    var output: [Float] = []
    for start in stride(from: 0, to: samples.count, by: source.sampleRate) {
        output += try chain.push(Array(samples[start..<min(start + source.sampleRate, samples.count)]))
    }
    output += try chain.flush()
    let elapsed = Date().timeIntervalSince(started)
    let length = (source.samples.count * chain.outputRate + source.sampleRate - 1) / source.sampleRate
    output = Array(output.prefix(length))
    try WAV(samples: output, sampleRate: chain.outputRate).write(to: target)
    let seconds = Double(output.count) / Double(chain.outputRate)
    show([
        ("bundle", bundle.manifest.name), ("mode", chain.player.mode), ("seconds", String(format: "%.3f", seconds)),
        ("padded with silence", isShort ? "yes" : "no"),
        ("rtf", String(format: "%.4f", elapsed / max(seconds, 1e-9))), ("wrote", target.path),
    ])
}

/// A recording through a live session, on a sound card of its own time that waits for nothing.
func live(_ arguments: Arguments) async throws {
    let bundle = try VoxportBundle(contentsOf: arguments.folder(0, "BUNDLE"))
    let source = try WAV(contentsOf: arguments.folder(1, "IN.wav"))
    let engines = try await engines(arguments, bundle)
    let chain = try ConversionChain(
        bundle, engines: engines, sampleRate: source.sampleRate, outputRate: source.sampleRate,
        target: voice(arguments, bundle, engines), context: .live,
        semitones: arguments.decimal("pitch") ?? 0)
    guard chain.player.streamForm != nil else {
        throw UsageError("\(bundle.manifest.name) does not stream: convert it with stream=stateful")
    }
    let block = try arguments.number("block") ?? 256
    try control(chain, arguments)
    let mixer = try Mixer(chain, gate: arguments.decimal("gate"))
    let session = Session(mixer, block: block, prefill: prefill(deviceBlock: block, modelBlock: chain.chunk))
    let played = try VirtualDevice { _ in 0 }.play(session, source.samples)
    try WAV(samples: played, sampleRate: source.sampleRate).write(to: arguments.folder(2, "OUT.wav"))
    let delay = Double(session.delay ?? 0) / Double(source.sampleRate)
    show([
        ("bundle", bundle.manifest.name), ("mode", chain.player.mode), ("blocks", "\(session.counters.blocks)"),
        ("underruns", "\(session.counters.underruns)"), ("delay_samples", "\(session.delay ?? 0)"),
        ("delay_ms", String(format: "%.1f", 1e3 * delay)),
    ])
}

/// A text, or symbols, in a voice.
func speak(_ arguments: Arguments) async throws {
    let bundle = try VoxportBundle(contentsOf: arguments.folder(0, "BUNDLE"))
    let target = try arguments.folder(1, "OUT.wav")
    let voice = try await Voice(bundle, engines: engines(arguments, bundle))
    guard let settings = bundle.manifest.voice?.text else { return }
    var request = Request(seed: try arguments.count("seed") ?? 0, pace: try arguments.decimal("pace") ?? 1)
    request.pitch = try arguments.decimal("pitch") ?? 0
    request.energy = try arguments.decimal("energy") ?? 0
    request.speaker = try await voice.speaker(arguments["speaker"])
    request.language = try await voice.language(arguments["language"])
    guard (0.1...10).contains(request.pace) else { throw UsageError("--pace takes 0.1 to 10") }
    let spoken: AsyncThrowingStream<AudioChunk, any Error>
    var unknown: [String] = []
    var notes: [String] = []
    if let symbols = arguments["symbols"] {
        unknown = try Reading(symbols: symbols, settings).unknown
        spoken = voice.speak(symbols: symbols, request)
    } else if let text = arguments["text"] {
        let script = try Script(text, settings)
        notes = script.notes
        for sentence in script.sentences {
            unknown += try Reading(sentence, settings.ofScripts).unknown.filter { !unknown.contains($0) }
        }
        spoken = voice.speak(text, request)
    } else {
        throw UsageError("say what to say: --text TEXT or --symbols SYMBOLS")
    }
    var samples: [Float] = []
    let started = Date()
    var first: TimeInterval?
    for try await chunk in spoken {
        first = first ?? Date().timeIntervalSince(started)
        samples += chunk.samples
    }
    let elapsed = Date().timeIntervalSince(started)
    try WAV(samples: samples, sampleRate: voice.sampleRate).write(to: target)
    let seconds = Double(samples.count) / Double(voice.sampleRate)
    var facts = [
        ("voice", bundle.manifest.name), ("seconds", String(format: "%.3f", seconds)),
        ("first_audio_ms", String(format: "%.1f", 1e3 * (first ?? elapsed))),
        ("rtf", String(format: "%.3f", elapsed / max(seconds, 1e-9))), ("wrote", target.path),
    ]
    if !unknown.isEmpty {
        facts.append(("left out", "symbols that it does not know: \(unknown.joined(separator: " "))"))
    }
    show(facts + notes.map { ("note", $0) })
}

/// The bundle's goldens on this machine: how near to PyTorch its audio is, on each of Core ML's compute units.
func check(_ arguments: Arguments) async throws -> Bool {
    let bundle = try VoxportBundle(contentsOf: arguments.folder(0, "BUNDLE"))
    #if canImport(CoreML)
        if arguments["engine"] ?? "coreml" == "coreml" {
            let chosen = try arguments["units"].map { _ in [try units(arguments)] } ?? ComputeUnits.allCases
            let results = try await CoreMLEngines(cache: cache(arguments)).check(bundle, units: chosen)
            show(results.map { ($0.units.rawValue, told($0)) } + [limit(results.compactMap(\.report).first, bundle)])
            let executed = results.filter { $0.report != nil }
            return !executed.isEmpty && executed.allSatisfy(\.passed)
        }
    #endif
    let report = try Check(bundle, engines: try await engines(arguments, bundle))
    var facts = report.clips.map { ($0.name, String(format: "%.1f dB to PyTorch", $0.decibels)) }
    facts.append(limit(report, bundle))
    facts.append(("verdict", verdict(report)))
    show(facts)
    return report.passed
}

private func verdict(_ report: Check) -> String { report.passed ? "as it was converted" : "NOT as it was converted" }

private func limit(_ report: Check?, _ bundle: VoxportBundle) -> (String, String) {
    let precision = bundle.manifest.options.precision
    return ("least", report.map { String(format: "%.0f dB for %@", $0.limit, precision) } ?? "nothing was executed")
}

#if canImport(CoreML)
    private func told(_ result: UnitCheck) -> String {
        guard let report = result.report, let least = report.clips.map(\.decibels).min() else {
            return "not executed: \(result.failure ?? "no clips")"
        }
        return String(format: "%.1f dB to PyTorch at least, %.1f s: %@", least, result.seconds, verdict(report))
    }

    private func units(_ arguments: Arguments) throws -> ComputeUnits {
        guard let units = ComputeUnits(rawValue: arguments["units"] ?? ComputeUnits.cpuAndGPU.rawValue) else {
            let known = ComputeUnits.allCases.map(\.rawValue).joined(separator: ", ")
            throw UsageError("--units is one of \(known)")
        }
        return units
    }

    private func cache(_ arguments: Arguments) -> URL? { arguments["cache"].map { URL(fileURLWithPath: $0) } }
#endif

/// Whose voice it is to be: what `python -m runtime target` wrote, or a recording of it.
private func voice(
    _ arguments: Arguments, _ bundle: VoxportBundle, _ engines: any EngineSource
) throws -> Target {
    guard let path = arguments["target"] else { return Target() }
    let (target, own) = (URL(fileURLWithPath: path), arguments["own"].map { URL(fileURLWithPath: $0) })
    guard target.pathExtension == "wav" else { return try Target(contentsOf: target, own: own, for: bundle) }
    let recording = try WAV(contentsOf: target)
    let source = try own.map { try WAV(contentsOf: $0) }
    if let source, source.sampleRate != recording.sampleRate {
        throw UsageError("--target and --own are recordings of one sample rate")
    }
    return try Target(
        recordings: [recording.samples], own: source.map { [$0.samples] } ?? [], sampleRate: recording.sampleRate,
        for: bundle, engines: engines)
}

/// The latents of a model that has them: `--latent NUMBER:SCALE[:BIAS]`, again and again.
private func control(_ chain: ConversionChain, _ arguments: Arguments) throws {
    for text in arguments.all("latent") {
        let numbers = text.split(separator: ":", omittingEmptySubsequences: false).map { Float($0) }
        guard let first = numbers.first, let latent = first.flatMap({ Int(exactly: $0) }),
            (2...3).contains(numbers.count),
            let scale = numbers[1], let bias = numbers.count > 2 ? numbers[2] : 0
        else { throw UsageError("--latent wants NUMBER:SCALE[:BIAS], such as 0:1.5, got \(text)") }
        guard let latents = chain.latents else {
            throw UsageError("this conversion has no latents between its components: leave out --latent")
        }
        try latents.control(latent, scale: scale, bias: bias)
    }
}

private func mode(_ arguments: Arguments) throws -> OfflineMode {
    guard let mode = OfflineMode(rawValue: arguments["mode"] ?? "overlap") else {
        throw UsageError("--mode is offline, overlap or fold")
    }
    return mode
}

/// Core ML where it is and nothing else is asked for, ONNX Runtime elsewhere; its library is named by an option or by
/// VOXPORT_ONNXRUNTIME.
private func engines(_ arguments: Arguments, _ bundle: VoxportBundle) async throws -> any EngineSource & Sendable {
    #if canImport(CoreML)
        let usual = "coreml"
    #else
        let usual = "onnx"
    #endif
    switch arguments["engine"] ?? usual {
    case "onnx": return try onnxEngines(arguments)
    #if canImport(CoreML)
        case "coreml":
            let engines = try CoreMLEngines(units: units(arguments), cache: cache(arguments))
            try await engines.prepare(bundle)
            return engines
    #endif
    case let other: throw UsageError("there is no engine \(other) here")
    }
}

private func onnxEngines(_ arguments: Arguments) throws -> ONNXEngines {
    guard let path = arguments["onnxruntime"] ?? ProcessInfo.processInfo.environment["VOXPORT_ONNXRUNTIME"] else {
        throw UsageError(
            "name ONNX Runtime's library: --onnxruntime PATH or VOXPORT_ONNXRUNTIME (in the wheel of onnxruntime it is "
                + "onnxruntime/capi/libonnxruntime.so.*)")
    }
    return ONNXEngines(
        library: URL(fileURLWithPath: path), lowered: arguments["lowered"].map { URL(fileURLWithPath: $0) },
        threads: try arguments.number("threads"))
}

private func show(_ facts: [(String, String)]) {
    let width = facts.map(\.0.count).max() ?? 0
    for (name, value) in facts { print("\(name.padding(toLength: width, withPad: " ", startingAt: 0))  \(value)") }
}
