import Foundation

/// Makes phonemes of text, for voices that read them.
///
/// espeak-ng and gruut are in no app, and espeak-ng's licence is the GPL: an app brings what it may, or passes symbols.
public protocol Phonemizing {
    /// The IPA of a text, its punctuation kept. `language` is the phonemizer's own name for it.
    func phonemes(of text: String, language: String) throws -> String
}

/// One sentence as a voice reads it: its symbols, their ids, and what of it the voice does not know.
public struct Reading: Equatable, Sendable {
    public let text: String
    public let symbols: String
    public let ids: [Int]
    public let unknown: [String]

    /// Reads a sentence. Unknown symbols are left out and named.
    ///
    /// Throws ``VoxportError/text(_:)`` for text without anything that the voice can say, and where the voice reads
    /// phonemes and there is nothing that makes them.
    public init(_ text: String, _ settings: TextSettings, phonemizer: (any Phonemizing)? = nil) throws {
        var cleaned = text.precomposedStringWithCanonicalMapping
        for step in settings.cleaning {
            cleaned = try Cleaning.apply(step, to: cleaned, language: settings.language)
        }
        cleaned = cleaned.unicodeScalars.split(whereSeparator: \.properties.isWhitespace).map { String($0) }
            .joined(separator: " ")
        guard cleaned.hasWords else {
            throw VoxportError.text("there is nothing to say in \"\(text)\"")
        }
        if !settings.phonemizer.isEmpty {
            guard let phonemizer else {
                throw VoxportError.text(
                    "this voice reads phonemes as \(settings.phonemizer) makes them: pass these, or what makes them")
            }
            cleaned = try phonemizer.phonemes(of: cleaned, language: settings.language)
        }
        try self.init(text: text, symbols: cleaned, settings)
    }

    /// Reads symbols that are phonemes, or letters, already.
    public init(symbols: String, _ settings: TextSettings) throws {
        try self.init(text: symbols, symbols: symbols, settings)
    }

    private init(text: String, symbols: String, _ settings: TextSettings) throws {
        // Strings are equal here where they look alike; symbols are other ones where their scalars are.
        typealias Scalars = [Unicode.Scalar]
        let table = Dictionary(
            settings.symbols.map { (Scalars($0.key.unicodeScalars), $0.value) }, uniquingKeysWith: { first, _ in first }
        )
        var scalars = Scalars(symbols.unicodeScalars)
        if !scalars.allSatisfy({ table[[$0]] != nil }) {
            // Combining marks may be symbols of their own, or parts of composed ones.
            scalars = Scalars(symbols.decomposedStringWithCanonicalMapping.unicodeScalars)
        }
        let longest = table.keys.map(\.count).max() ?? 1
        var known: [Scalars] = []
        var unknown: [String] = []
        var position = 0
        while position < scalars.count {
            let lengths = stride(from: min(longest, scalars.count - position), to: 0, by: -1)
            if let length = lengths.first(where: { table[Scalars(scalars[position..<position + $0])] != nil }) {
                known.append(Scalars(scalars[position..<position + length]))
                position += length
            } else {
                let missing = String(scalars[position])
                if !unknown.contains(missing) { unknown.append(missing) }
                position += 1
            }
        }
        guard known.joined().contains(where: \.isAlphanumeric) else {
            throw VoxportError.text(
                "the voice knows none of the symbols of \"\(text)\": \(unknown.joined(separator: " "))")
        }
        self.text = text
        self.symbols = String(known.joined())
        self.unknown = unknown
        ids = settings.begin + known.flatMap { table[$0]! + settings.between } + settings.end
    }

    /// A text cut after full stops, question and exclamation marks, and at line breaks; no empty sentences.
    public static func sentences(_ text: String) -> [String] {
        let marked = sentenceEnd.replacing(in: text) { "\($0[1] ?? "")\n" }
        return marked.lines.map(\.trimmed).filter(\.hasWords)
    }

    private static let sentenceEnd = Pattern(#"([.!?…。！？]["'”»)]*)\s+|\n+"#)
    private static let clauseEnd = Pattern(#"(?<=[,;:—])\s+"#)
    private static let space = Pattern(#"\s+"#)

    /// A long sentence in two, at the mark or else the space nearest to its middle; nil for a single word.
    public static func halves(_ sentence: String) -> (String, String)? {
        let scalars = Array(sentence.unicodeScalars)
        for pattern in [clauseEnd, space] {
            // Lengths are counted in scalars, as Python does.
            let cuts = pattern.matches(in: sentence).map { ($0.before + $0.text).unicodeScalars.count }.filter {
                $0 > 0 && $0 < scalars.count
            }
            let middle = Double(scalars.count) / 2
            guard let cut = cuts.min(by: { abs(Double($0) - middle) < abs(Double($1) - middle) }) else { continue }
            func part(_ range: Range<Int>) -> String {
                String(scalars[range]).trimmed
            }
            return (part(0..<cut), part(cut..<scalars.count))
        }
        return nil
    }
}
