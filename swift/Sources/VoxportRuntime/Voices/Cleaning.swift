import Foundation

/// The steps by which a voice's text is cleaned, by their names in the manifest.
enum Cleaning {
    /// Applies a step. Throws ``VoxportError/text(_:)`` for one that is not known, and for figures that have no words.
    static func apply(_ step: String, to text: String, language: String) throws -> String {
        switch step {
        case "lower": return text.lowercased()
        case "turkish_lower":
            let undotted = text.replacingOccurrences(of: "I", with: "ı")
            return undotted.replacingOccurrences(of: "İ", with: "i").lowercased()
        case "numbers": return try numbers(text, language)
        case "abbreviations": return abbreviations(text, language)
        case "marks": return marks(text, language)
        case "brackets": return text.replacingMatches(of: #"[<>()\[\]"]+"#) { _ in "" }
        default: throw VoxportError.text("the voice's text is cleaned by \(step), which this runtime does not know")
        }
    }

    private static func numbers(_ text: String, _ language: String) throws -> String {
        let tongue = language.prefix { $0 != "-" && $0 != "_" }
        guard tongue == "en" else {
            guard !text.unicodeScalars.contains(where: { $0.properties.generalCategory == .decimalNumber }) else {
                throw VoxportError.text("this runtime has no words for figures in \(language): write them out")
            }
            return text
        }
        let whole = text as NSString
        func isWord(_ range: NSRange) -> Bool {
            whole.substring(with: range).unicodeScalars.contains(where: \.isAlphanumeric)
        }
        return text.replacingMatches(of: #"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"#) { match in
            guard let words = EnglishNumbers.words(match.text.replacingOccurrences(of: ",", with: "")) else {
                return match.text
            }
            let end = match.range.upperBound
            let before = match.range.location > 0 && isWord(NSRange(location: match.range.location - 1, length: 1))
            let after = end < whole.length && isWord(NSRange(location: end, length: 1))
            return "\(before ? " " : "")\(words)\(after ? " " : "")"
        }
    }

    /// The few marks that Coqui's cleaners leave.
    private static func marks(_ text: String, _ language: String) -> String {
        let tongue = String(language.prefix(2))
        let joiner = ["en": " and ", "fr": " et ", "it": " e ", "pt": " e ", "ca": " i "][tongue] ?? "&"
        var kept = text.replacingOccurrences(of: ":", with: ",").replacingOccurrences(of: "&", with: joiner)
        if tongue != "el" { kept = kept.replacingOccurrences(of: ";", with: ",") }
        return kept.replacingOccurrences(of: "-", with: " ")
    }

    private static let titles = [
        "mrs": "misess", "mr": "mister", "dr": "doctor", "st": "saint", "co": "company", "jr": "junior",
        "maj": "major", "gen": "general", "drs": "doctors", "rev": "reverend", "lt": "lieutenant", "hon": "honorable",
        "sgt": "sergeant", "capt": "captain", "esq": "esquire", "ltd": "limited", "col": "colonel", "ft": "fort",
    ]

    /// English titles in full, spelt as models were trained to read them.
    private static func abbreviations(_ text: String, _ language: String) -> String {
        guard language.hasPrefix("en") else { return text }
        let names = titles.keys.sorted { ($1.count, $0) < ($0.count, $1) }.joined(separator: "|")
        return text.replacingMatches(of: #"(?i)\b("# + names + #")\."#) { match in
            titles[match.text.dropLast().lowercased()] ?? match.text
        }
    }
}

extension Unicode.Scalar {
    /// Whether it is a letter, a digit or another number.
    var isAlphanumeric: Bool {
        switch properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: return true
        default: return properties.numericType != nil
        }
    }
}

extension String {
    /// What a regular expression found.
    struct Match {
        let range: NSRange
        let text: String
    }

    /// The places that a regular expression matches, from the first to the last.
    func matches(of pattern: String) -> [Match] {
        guard let expression = try? NSRegularExpression(pattern: pattern) else {
            preconditionFailure("\(pattern) is no regular expression")
        }
        let whole = self as NSString
        return expression.matches(in: self, range: NSRange(location: 0, length: whole.length)).map {
            Match(range: $0.range, text: whole.substring(with: $0.range))
        }
    }

    /// The same text with something else in these places.
    func replacingMatches(of pattern: String, by replacement: (Match) -> String) -> String {
        let replaced = NSMutableString(string: self)
        for match in matches(of: pattern).reversed() {
            replaced.replaceCharacters(in: match.range, with: replacement(match))
        }
        return replaced as String
    }
}
