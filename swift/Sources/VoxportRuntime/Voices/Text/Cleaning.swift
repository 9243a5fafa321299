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
        case "brackets": return brackets.replacing(in: text) { _ in "" }
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
        return figures.replacing(in: text) { match in
            guard let words = EnglishNumbers.words(match.text.replacingOccurrences(of: ",", with: "")) else {
                return match.text
            }
            return words.apart(in: match)
        }
    }

    private static let brackets = Pattern(#"[<>()\[\]"]+"#)
    private static let figures = Pattern(#"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"#)

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
        return titled.replacing(in: text) { match in titles[match.text.dropLast().lowercased()] ?? match.text }
    }

    private static let titled = Pattern(
        #"\b("# + titles.keys.sorted { ($1.count, $0) < ($0.count, $1) }.joined(separator: "|") + #")\."#,
        ignoringCase: true)
}

extension String {
    /// These words in place of a match, with spaces where letters or figures would touch them.
    func apart(in match: Match) -> String {
        let before = match.before.unicodeScalars.last?.isAlphanumeric == true
        let after = match.after.unicodeScalars.first?.isAlphanumeric == true
        return "\(before ? " " : "")\(self)\(after ? " " : "")"
    }
}
