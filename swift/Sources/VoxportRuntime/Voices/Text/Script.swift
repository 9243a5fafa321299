import Foundation

/// What is to be said of a text as people have it, sentence by sentence, and notes about what of it is not.
///
/// Characters, abbreviations, figures, marks and the ends of sentences are those of Python's
/// `runtime/speech/normalization.py`. What depends on the language is English; other languages have their characters
/// mended and are cut after every full stop. A voice that reads phonemes keeps its plain numbers (2.0, 21st, 1942),
/// which its phonemizer says.
public struct Script: Equatable, Sendable {
    public let sentences: [String]
    /// Sentences for the user: tags, Markdown's marks and emoji are not spoken.
    public let notes: [String]

    /// Cuts a text into sentences and puts what stands for words into words.
    ///
    /// Throws ``VoxportError/text(_:)`` for figures in another language than English, where the voice reads letters:
    /// there are no words for them here.
    public init(_ text: String, _ settings: TextSettings) throws {
        var text = Characters.mended(text)
        var notes: [String]
        (text, notes) = Markup.removed(from: text)
        var emoji: [String] = []
        for match in Self.emoji.matches(in: text) where !emoji.contains(match.text) { emoji.append(match.text) }
        if !emoji.isEmpty {
            text = Self.emoji.replacing(in: text) { _ in " " }
            notes.append("emoji are not spoken: \(emoji.prefix(10).joined(separator: " "))")
        }
        let isEnglish = settings.language.hasPrefix("en")
        var spoken: [String] = []
        for line in Characters.joinedLines(text).lines {
            let line = Self.gluedSentences.replacing(in: line, with: "$1 ")
            for part in Self.sentences(isEnglish ? English.wholeNames(line) : line, isEnglish: isEnglish) {
                var sentence = isEnglish ? English.expanded(part, settings) : part
                if settings.phonemizer.isEmpty {
                    sentence =
                        try isEnglish
                        ? English.numbersAsWords(sentence) : Self.withoutNumbers(sentence, settings)
                }
                spoken.append(Self.shortWords(Marks(settings).mended(sentence)))
            }
        }
        sentences = spoken.filter(\.hasWords)
        self.notes = notes
    }

    private static let emoji = Pattern(
        #"[\u200d\u20e3\u2600-\u27bf\u2b00-\u2bff\x{1f000}-\x{1faff}\x{e0020}-\x{e007f}]+"#)
    private static let gluedSentences = Pattern(#"(?<=[a-zß-öø-ÿ]{2})([.!?])(?=[A-ZÀ-Þ][^\W\d_])"#)

    private static func withoutNumbers(_ sentence: String, _ settings: TextSettings) throws -> String {
        guard !sentence.unicodeScalars.contains(where: { $0.properties.generalCategory == .decimalNumber }) else {
            throw VoxportError.text("this runtime has no words for figures in \(settings.language): write them out")
        }
        return sentence
    }

    /// Runs of more than 80 letters are no words, and are said in pieces.
    private static func shortWords(_ sentence: String) -> String { longWord.replacing(in: sentence, with: "$0 ") }

    private static let longWord = Pattern(#"\S{80}(?=\S)"#)

    // ------------------------------------------------------------------------------------------------ sentences

    private static func sentences(_ line: String, isEnglish: Bool) -> [String] {
        let parts = isEnglish ? blocks(line).flatMap(SentenceEnds.sentences) : blocks(line).flatMap(Reading.sentences)
        return merged(parts.map(\.trimmed))
    }

    /// What holds no letter (a bracket, a mark) belongs to the sentence before it.
    private static func merged(_ parts: [String]) -> [String] {
        var merged: [String] = []
        for part in parts {
            if let last = merged.last, !part.hasWords {
                merged[merged.count - 1] = "\(last) \(part)"
            } else {
                merged.append(part)
            }
        }
        return merged
    }

    /// Stretches of at most 2,000 letters, cut where a sentence surely ends, else at a space.
    private static func blocks(_ line: String) -> [String] {
        let most = 2000
        var scalars = Array(line.unicodeScalars)
        var blocks: [String] = []
        while scalars.count > most {
            let block = String(scalars[..<most])
            let end = sureEnd.matches(in: block).last.map { ($0.before + $0.text).unicodeScalars.count }
            let space = scalars[..<most].lastIndex(of: " ").flatMap { $0 > 0 ? $0 + 1 : nil }
            let cut = end ?? space ?? most
            blocks.append(String(scalars[..<cut]))
            scalars.removeFirst(cut)
        }
        return blocks + [String(scalars)]
    }

    private static let sureEnd = Pattern(#"[^\W\d_]{4,}[.!?]+ (?=[A-ZÀ-Þ])"#)
}

/// What files and pages do to letters: widths, ligatures, invisible and control characters, line ends.
enum Characters {
    static func mended(_ text: String) -> String {
        var text = escapes.replacing(in: text) { _ in "" }.precomposedStringWithCanonicalMapping
        text = lineEnds.replacing(in: text) { _ in "\n" }
        text = invisible.replacing(in: text) { _ in "" }
        text = shaped.replacing(in: text) { $0.text.precomposedStringWithCompatibilityMapping }
        let kept = text.unicodeScalars.filter { scalar in
            if scalar == "\n" || scalar == "\t" { return true }
            let category = scalar.properties.generalCategory
            return category != .control && category != .surrogate && category != .privateUse
        }
        return spaces.replacing(in: String(kept.map { quotes[$0] ?? $0 }), with: " ")
    }

    /// Joins lines that a page's width broke: a hyphen at the end, or a small letter that goes on.
    static func joinedLines(_ text: String) -> String {
        goingOn.replacing(in: hyphenated.replacing(in: text) { _ in "" }, with: " ")
    }

    /// What colours a terminal's text (ECMA-48).
    private static let escapes = Pattern(#"\x1b\[[0-9;?]*[ -/]*[@-~]"#)
    private static let lineEnds = Pattern(#"\r\n?|[\u2028\u2029\x0b\x0c\x85]"#)
    private static let spaces = Pattern(#"[^\S\n]+"#)
    /// Soft hyphen, zero-width space and word joiner, marks of direction, byte order mark, U+FFFD.
    private static let invisible = Pattern(
        #"[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe0e\ufe0f\ufeff\ufffd]"#)
    /// Letters of another width or shape, ligatures, numerals of one character: NFKC changes no meaning of these.
    private static let shaped = Pattern(
        #"[\u017f\u2160-\u217f\ufb00-\ufb06\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\x{1d400}-\x{1d7ff}]"#)
    private static let quotes: [Unicode.Scalar: Unicode.Scalar] = [
        "‘": "'", "’": "'", "‛": "'", "ʼ": "'", "“": "\"", "”": "\"", "„": "\"", "«": "\"", "»": "\"",
    ]
    private static let hyphenated = Pattern(#"(?<=[^\W\d_])-\n *(?=[a-zß-öø-ÿ])"#)
    private static let goingOn = Pattern(#"(?<=[\w,;]) *\n *(?=[a-zß-öø-ÿ])"#)
}
