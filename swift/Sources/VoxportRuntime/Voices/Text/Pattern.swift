import Foundation

/// A regular expression that means here what it means to Python's `re`, whose patterns text is prepared by.
///
/// Letters are Unicode's, of which the marks that combine with them are none; a line ends with `\n` alone. Groups with
/// names are written as ICU has them: `(?<name>…)`.
struct Pattern: Sendable {
    private let expression: NSRegularExpression

    init(_ pattern: String, ignoringCase: Bool = false, byLine: Bool = false) {
        var options: NSRegularExpression.Options = [.useUnixLineSeparators]
        if ignoringCase { options.insert(.caseInsensitive) }
        if byLine { options.insert(.anchorsMatchLines) }
        guard let expression = try? NSRegularExpression(pattern: Self.translated(pattern), options: options) else {
            preconditionFailure("\(pattern) is no regular expression")
        }
        self.expression = expression
    }

    /// Python's classes in ICU's words: ICU's letters have combining marks and lack superscripts.
    private static func translated(_ pattern: String) -> String {
        let word = #"\p{L}\p{N}_"#
        let space = #"\s\x{b}\x{1c}-\x{1f}\x{85}"#
        let classes: [Character: String] = [
            "w": "[\(word)]", "W": "[^\(word)]", "s": "[\(space)]", "S": "[^\(space)]",
            "b": "(?:(?<=[\(word)])(?![\(word)])|(?<![\(word)])(?=[\(word)]))",
        ]
        var translated = ""
        var rest = Substring(pattern)
        while let letter = rest.popFirst() {
            guard letter == "\\", let escaped = rest.popFirst() else {
                translated.append(letter)
                continue
            }
            translated += classes[escaped] ?? "\\\(escaped)"
        }
        return translated
    }

    /// The places that it matches, from the first to the last.
    func matches(in text: String) -> [Match] {
        let units = Array(text.utf16)
        return expression.matches(in: text, range: NSRange(location: 0, length: units.count)).map {
            Match(result: $0, units: units)
        }
    }

    func isFound(in text: String) -> Bool {
        expression.firstMatch(in: text, range: NSRange(location: 0, length: text.utf16.count)) != nil
    }

    /// The text with something else in each of these places.
    func replacing(in text: String, by replacement: (Match) -> String) -> String {
        let found = matches(in: text)
        guard !found.isEmpty else { return text }
        // In UTF-16's units: Foundation on Linux may take a whole character, with what combines in it.
        var replaced: [UInt16] = []
        var end = 0
        for match in found {
            replaced += match.units[end..<match.start]
            replaced += replacement(match).utf16
            end = match.end
        }
        return String(decoding: replaced + found[0].units[end...], as: UTF16.self)
    }

    /// The same, by a template: `$1` is what the first group holds.
    func replacing(in text: String, with template: String) -> String {
        let parts = template.split(separator: "$", omittingEmptySubsequences: false)
        return replacing(in: text) { match in
            parts.dropFirst().reduce(String(parts[0])) { replaced, part in
                replaced + (part.first?.wholeNumberValue.flatMap { match[$0] } ?? "") + part.dropFirst()
            }
        }
    }

    /// What lies between its matches.
    func split(_ text: String) -> [String] {
        let found = matches(in: text)
        guard let last = found.last else { return [text] }
        let starts = [0] + found.map(\.end)
        return zip(starts, found).map { $1.text(in: $0..<$1.start) } + [last.after]
    }
}

/// A place that a pattern matches, and what lies around it.
struct Match {
    fileprivate let result: NSTextCheckingResult
    fileprivate let units: [UInt16]

    /// Where it begins and ends, in UTF-16's units.
    var start: Int { result.range.location }
    var end: Int { result.range.location + result.range.length }

    var text: String { text(in: start..<end) }
    var before: String { text(in: 0..<start) }
    var after: String { text(in: end..<units.count) }

    /// What a group holds; nil where it holds nothing.
    subscript(_ group: Int) -> String? {
        let range = result.range(at: group)
        return range.location == NSNotFound ? nil : text(in: range.location..<range.location + range.length)
    }

    fileprivate func text(in range: Range<Int>) -> String { String(decoding: units[range], as: UTF16.self) }
}

extension Unicode.Scalar {
    /// Whether it is a letter, a digit or another number.
    var isAlphanumeric: Bool { isLetter || properties.numericType != nil }

    var isLetter: Bool {
        switch properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: return true
        default: return false
        }
    }
}

extension String {
    /// Whether there is a letter or a number in it.
    var hasWords: Bool { unicodeScalars.contains(where: \.isAlphanumeric) }

    /// What lies between its line ends.
    var lines: [String] {
        unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map { String($0) }
    }

    var trimmed: String { trimmingCharacters(in: .whitespacesAndNewlines) }

    /// The text without these at its ends.
    func trimmed(_ characters: String) -> String { trimmingCharacters(in: CharacterSet(charactersIn: characters)) }

    /// The text without these at its end.
    func trimmedAtEnd(_ characters: String) -> String {
        let scalars = Array(unicodeScalars)
        let known = Set(characters.unicodeScalars)
        return Self(scalars.prefix((scalars.lastIndex { !known.contains($0) } ?? -1) + 1))
    }

    init(_ scalars: some Sequence<Unicode.Scalar>) {
        var view = UnicodeScalarView()
        view.append(contentsOf: scalars)
        self.init(view)
    }
}
