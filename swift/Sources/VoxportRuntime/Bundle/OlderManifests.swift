import Foundation

/// Manifests as they were written, brought up to the present schema: what Python's `runtime/bundle/schema.py` does, and what
/// its records have where a key is missing.
///
/// What is not as its schema says is left as it is: decoding names it then.
struct OlderManifests {
    private typealias Object = [String: Any]

    /// The JSON of any schema from 1 on as that of this one.
    static func upgraded(_ json: Data, schema: Int) throws -> Data {
        guard var manifest = try JSONSerialization.jsonObject(with: json) as? Object else { return json }
        if schema == 1 { from1(&manifest) }
        if schema <= 2 { from2(&manifest) }
        if schema <= 3 { from3(&manifest) }
        manifest["schema_version"] = Manifest.schemaVersion
        return try JSONSerialization.data(withJSONObject: filled(manifest))
    }

    /// Schema 2 has one type of features, `sound` for what makes audio, and no `role` and `speaker` of a component.
    private static func from1(_ manifest: inout Object) {
        var voice = manifest["voice"] as? Object ?? [:]
        let last = voice["last"] as? String
        if let components = manifest["components"] as? [Object] {
            manifest["components"] = components.map { old in
                var component = old
                let role = component.removeValue(forKey: "role") as? String ?? "vocoder"
                let speaker = component.removeValue(forKey: "speaker") as? Object
                let mel = component["features"] as? Object
                if let speaker { component["features"] = speaker.merging(["kind": "speaker_mel"]) { $1 } }
                if role == "vocoder", let mel {
                    component["sound"] = [
                        "sample_rate": mel["sample_rate"] ?? NSNull(), "mel": mel.merging(["noise_rows": 0]) { $1 },
                    ]
                } else if let last, component["name"] as? String == last {
                    component["sound"] = [
                        "sample_rate": voice["sample_rate"] ?? NSNull(), "mel": voice["features"] ?? NSNull(),
                    ]
                    voice["features"] = NSNull()
                    manifest["voice"] = voice
                }
                if speaker == nil, let mel { component["features"] = mel.merging(["kind": "mel"]) { $1 } }
                return component
            }
        }
        manifest = renamed(manifest) as? Object ?? manifest
    }

    /// Schema 3 calls what was asked for `options`, and tensors that compression left as they were `excluded`.
    private static func from2(_ manifest: inout Object) {
        if let asked = manifest.removeValue(forKey: "conversion") { manifest["options"] = asked }
        guard let components = manifest["components"] as? [Object] else { return }
        manifest["components"] = components.map { old in
            var component = old
            if let spared = component.removeValue(forKey: "spared") { component["excluded"] = spared }
            return component
        }
    }

    /// In schema 4 a stage takes frames of several stages.
    private static func from3(_ manifest: inout Object) {
        guard var conversion = manifest["conversion"] as? Object, let stages = conversion["stages"] as? [Object] else {
            return
        }
        conversion["stages"] = stages.map { old in
            var stage = old
            // Those of other kinds take one alone to this day.
            if let takes = stage["takes"] as? String, ["windowed", "local"].contains(stage["kind"] as? String) {
                stage["takes"] = [takes]
            }
            return stage
        }
        manifest["conversion"] = conversion
    }

    /// The framing that schema 1 had beside `centered` is called `inset` now.
    private static func renamed(_ value: Any) -> Any {
        if let list = value as? [Any] { return list.map(renamed) }
        guard var object = value as? Object else { return value }
        if let framing = object["framing"] as? String, framing != "centered" { object["framing"] = "inset" }
        return object.mapValues(renamed)
    }

    // MARK: Defaults

    /// A manifest with what Python leaves to its defaults.
    private static func filled(_ manifest: Object) throws -> Object {
        let data = Data(defaults.utf8)
        guard let places = try JSONSerialization.jsonObject(with: data) as? [String: Object] else { return manifest }
        var mel = try JSONSerialization.jsonObject(with: JSONEncoder.snake.encode(Mel())) as? Object ?? [:]
        mel["kind"] = "mel"
        return filled(manifest, "manifest", places.merging(["mel": mel]) { $1 }) as? Object ?? manifest
    }

    private static func filled(_ value: Any, _ place: String, _ places: [String: Object]) -> Any {
        if let list = value as? [Any] { return list.map { filled($0, place, places) } }
        guard let object = value as? Object else { return value }
        let kind = object["kind"] as? String
        // What is told apart by its kind has the defaults of that.
        let own = kind.map { places["\(place).\($0)"] ?? places[$0] ?? [:] } ?? places[place] ?? [:]
        let complete = object.merging(own) { given, _ in given }
        let inner = inside[place] ?? inside[kind ?? ""] ?? [:]
        return complete.reduce(into: Object()) { result, pair in
            guard let next = inner[pair.key] else {
                result[pair.key] = pair.value
                return
            }
            if next.hasPrefix("each ") {
                let name = String(next.dropFirst(5))
                result[pair.key] = (pair.value as? Object)?.mapValues { filled($0, name, places) } ?? pair.value
            } else {
                result[pair.key] = filled(pair.value, next, places)
            }
        }
    }

    /// What lies in a record, by key: another record or a list of them; `each`: an object of them by name.
    private static let inside: [String: [String: String]] = [
        "manifest": [
            "checkpoint": "checkpoint", "components": "component", "voice": "voice", "conversion": "conversion",
            "parts": "each checkpoint",
        ],
        "component": [
            "inputs": "tensor", "outputs": "tensor", "time": "time", "features": "features", "sound": "sound",
            "stream": "stream", "upsampling": "upsampling", "sampler": "sampler",
        ],
        "sound": ["mel": "mel"], "speaker_mel": ["mel": "mel"], "features": ["mel": "mel"],
        "stream": ["inputs": "port", "outputs": "port"],
        "voice": ["text": "text", "features": "mel", "acoustic": "mel", "attending": "attending"],
        "conversion": ["stages": "stage"],
        "stage": ["features": "features", "mel": "mel", "clock": "clock"],
    ]

    /// By record, and by the kind of those that have one.
    private static let defaults = """
        {
          "manifest": {"voice": null, "conversion": null, "parts": {}, "notes": []},
          "checkpoint": {"fallback": false, "random": false},
          "component": {"upsampling": [], "sizes": {}, "padded": false, "reference_size": 0, "mixed": {}, "targets": {},
                        "sources": {}},
          "tensor": {"dtype": "float32", "unit": ""},
          "time": {"positions": 1, "hop_length": 1, "extra": 0},
          "sampler": {"rows": 1, "hop_length": 1},
          "upsampling": {"output_padding": 0, "slope": 0.1, "has_condition": false},
          "stream": {"states": [], "state": "none", "constants": [], "repeated": 0, "truncation_db": {}, "costs": {}},
          "port": {"extra": 0},
          "text": {"begin": [], "between": [], "end": [], "phonemizer": "", "language": "en-us", "cleaning": []},
          "voice": {"noise_scale": 0.0, "duration_noise_scale": 0.0, "length_scale": 1.0, "speakers": {}, "languages": {},
                    "embedding_channels": 0, "prosody": [], "last": "decoder", "squeeze": 1, "speaker_encoder": ""},
          "attending": {"stop_threshold": 0.5, "least_steps": 1, "most_steps": 10000, "dropout": 0, "text_dropout": 0},
          "clock": {"offset": 0.0},
          "conversion": {"stages": [], "target": "built_in"},
          "linear": {"sample_rate": 22050, "n_fft": 1024, "win_length": 1024, "hop_length": 256, "magnitude_floor": 1e-6},
          "level": {"sample_rate": 22050, "n_fft": 1024, "hop_length": 256, "floor_db": -100.0},
          "features.pitch": {"sample_rate": 22050, "n_fft": 1024, "hop_length": 256, "fmin": 65.0, "fmax": 800.0,
                             "threshold": 0.15},
          "pitch_candidates": {"sample_rate": 22050, "n_fft": 768, "hop_length": 256, "fmin": 65.0, "fmax": 800.0,
                             "threshold": 0.5, "count": 5},
          "log_bands": {"sample_rate": 16000, "hop_length": 256, "windows": [1024, 2048, 512], "n_bands": 128,
                        "bands_to_fmax": 95, "fmin": 46.875, "fmax": 2093.75, "amplitude_floor": 1e-8, "silence": 1e-3},
          "excitation": {"sample_rate": 16000, "hop_length": 160}, "bark": {"sample_rate": 16000, "hop_length": 160},
          "samples": {"hop_length": 1},
          "speaker_mel": {"sample_rate": 16000, "n_fft": 400, "win_length": 400, "hop_length": 160, "n_mels": 40,
                          "window": "hann", "htk": false, "preemphasis": 0.0, "partial_frames": 160, "overlap": 0.5,
                          "least_coverage": 0.75, "level_dbfs": -30.0, "trims_silence": true},
          "windowed": {"frames_per_output": 1, "fill": 0.0, "costs_db": {}},
          "match": {"neighbours": 4, "shortlist": 32, "pitch_weight": 0.02, "every": 1, "centred": true},
          "stage.pitch": {"gives": "hertz"},
          "voicing": {"threshold": 0.5},
          "harmonic": {"amplitude": 0.1, "noise": 0.003},
          "retrieve": {"pitch": "", "neighbours": 8, "share": 0.75, "protected": 0.33},
          "local": {"noise_rows": 0}
        }
        """
}

extension JSONEncoder {
    /// Keys as Python has them.
    static var snake: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        return encoder
    }
}
