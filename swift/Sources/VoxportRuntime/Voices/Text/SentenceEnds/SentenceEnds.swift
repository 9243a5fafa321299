import Foundation

/// Where English sentences end, by the rules of pysbd 0.3.4, after the Pragmatic Segmenter (MIT, its licence beside it).
///
/// Marks that end no sentence are hidden behind others that no text has, rule by rule; what is left of them cuts. The
/// sentences that come out are found again in the text, so that nothing of it is written otherwise.
enum SentenceEnds {
    /// The sentences of a line, each with the spaces behind it.
    static func sentences(_ line: String) -> [String] {
        guard !line.isEmpty else { return [] }
        var text = ListMarks.broken(String(line.unicodeScalars.map { $0 == "\n" ? "\r" : $0 }))
        text = Abbreviations.hidden(text)
        text = apply(numbers, to: text)
        text = repeatedMarks.replacing(in: text) { hidden($0.text, Set("!?".unicodeScalars)) }
        text = references.replacing(in: text, with: "∯$2\r$7")
        text = apply(addresses, to: text)
        text = bracketsBetweenQuotes.replacing(in: text) { match in
            apply([(beforeBracket, "\r"), (afterBracket, "\r")], to: match.text)
        }
        let parts = text.unicodeScalars.split(separator: "\r").map { apply(ellipses, to: String($0)) }
        return found(parts.flatMap(cut).flatMap(restored), in: line)
    }

    private typealias Replacement = (pattern: Pattern, template: String)

    private static func apply(_ replacements: [Replacement], to text: String) -> String {
        replacements.reduce(text) { text, next in next.pattern.replacing(in: text, with: next.template) }
    }

    // ---------------------------------------------------------------------------------------------- hidden marks

    /// Marks that may end a sentence, and what hides each. A full stop of an abbreviation is hidden as one of these.
    private static let hiding: [(mark: Unicode.Scalar, hidden: String)] = [
        (".", "∯"), ("。", "&ᓰ&"), ("．", "&ᓱ&"), ("！", "&ᓳ&"), ("!", "&ᓴ&"), ("?", "&ᓷ&"), ("？", "&ᓸ&"), ("'", "&⎋&"),
    ]
    private static let hiddenMarks = Dictionary(uniqueKeysWithValues: hiding.map { ($0.mark, $0.hidden) })
    private static let allMarks = Set(hiding.map(\.mark))

    private static func hidden(_ text: String, _ marks: Set<Unicode.Scalar> = allMarks) -> String {
        text.unicodeScalars.map { marks.contains($0) ? hiddenMarks[$0] ?? "" : String($0) }.joined()
    }

    /// What a rule hid, and what is written again; the apostrophe comes last.
    private static let showing: [Replacement] =
        hiding.dropLast().map { (Pattern($0.hidden), String($0.mark)) } + [
            (Pattern("☉"), "?!"), (Pattern("☇"), "??"), (Pattern("☈"), "!?"), (Pattern("☄"), "!!"),
            (Pattern("&✂&"), "("), (Pattern("&⌬&"), ")"), (Pattern("ȸ"), ""), (Pattern("ȹ"), "\n"),
        ]
    private static let showingEllipses: [Replacement] = [
        (Pattern("ƪƪƪ"), "..."), (Pattern("♟♟♟♟♟♟♟"), " . . . "), (Pattern("♝♝♝♝♝♝♝"), ". . . ."),
        (Pattern("☏☏"), ".."), (Pattern("∮"), "."),
    ]

    // ------------------------------------------------------------------------------------------ before it is cut

    private static let numbers: [Replacement] = [
        (Pattern(#"\.(?=\d)"#), "∯"), (Pattern(#"(?<=\d)\.(?=\S)"#), "∯"),
        (Pattern(#"(?<=\r\d)\.(?=\s\S|\))"#), "∯"), (Pattern(#"(?<=^\d)\.(?=\s\S|\))"#), "∯"),
        (Pattern(#"(?<=^\d\d)\.(?=\s\S|\))"#), "∯"),
    ]
    private static let repeatedMarks = Pattern(#"(?<=\S)[!?]{3,}(?=\s|$)"#)
    /// A number or brackets behind a full stop are a reference: "as others saw.12 They".
    private static let references = Pattern(
        #"(?<=[^\d\s])(\.|∯)((\[(\d{1,3},?\s?-?\s?)*\b\d{1,3}\])+|((\d{1,3}\s?)?\d{1,3}))(\s)(?=[A-Z])"#)
    private static let addresses: [Replacement] = [
        (Pattern("([a-zA-Z0-9_])\\.([a-zA-Z0-9_])"), "$1∮$2"),
        (Pattern(#"(?<=[A-z]°)\.(?=\s*\d+)"#), "∯"),
        (
            Pattern(
                #"(?<=\s)\.(?=(?:jpe?g|png|gif|tiff?|pdf|ps|docx?|xlsx?|svg|bmp|tga|exif|odt|html?|txt|rtf|bat|sxw|"#
                    + #"xml|zip|exe|msi|blend|wmv|mp[34]|pptx?|flac|rb|cpp|cs|js)\s)"#), "∯"
        ),
    ]
    private static let bracketsBetweenQuotes = Pattern(#"["”]\s\(.*\)\s["“]"#)
    private static let beforeBracket = Pattern(#"\s(?=\()"#)
    private static let afterBracket = Pattern(#"(?<=\))\s"#)
    private static let ellipses: [Replacement] = [
        (Pattern("\n"), "ȹ"), (Pattern(#"(?:\s\.){3}\s"#), "♟♟♟♟♟♟♟"),
        (Pattern(#"(?<=[a-z])(?:\.\s){3}\.(?:$|\\n)"#), "♝♝♝♝♝♝♝"), (Pattern(#"(?<=\S)\.{3}(?=\.\s[A-Z])"#), "ƪƪƪ"),
        (Pattern(#"\.\.\.(?=\s+[A-Z])"#), "☏☏."), (Pattern(#"\.\.\."#), "ƪƪƪ"),
    ]

    // ------------------------------------------------------------------------------------------------------- cut

    private static let ends = Set("。．.！!?？".unicodeScalars)
    private static let sentence = Pattern(
        #"（[^）]*）(?=\s?[A-Z])|「[^」]*」(?=\s[A-Z])|\([^)]{2,}\)(?=\s[A-Z])|'[^']*[^,]'(?=\s[A-Z])|"#
            + #""[^"]*[^,]"(?=\s[A-Z])|“[^”]*[^,]”(?=\s[A-Z])|[。．.！!?？ ]{2,}|\S.*?[。．.！!?？ȸȹ☉☈☇☄]|[。．.！!?？]"#)
    private static let exclaiming = Pattern(
        "!Xũ|!Kung|ǃʼOǃKung|!Xuun|!Kung-Ekoka|ǃHu|ǃKhung|ǃKu|ǃung|ǃXo|ǃXû|ǃXung|ǃXũ|!Xun|Yahoo!|Y!J|Yum!")
    private static let doubled = Pattern(#"^(?:\?!|!\?|\?\?|!!)"#)
    private static let doubles: [Replacement] = [
        (Pattern(#"\?!"#), "☉"), (Pattern(#"!\?"#), "☈"), (Pattern(#"\?\?"#), "☇"), (Pattern("!!"), "☄"),
    ]
    private static let quoted: [Replacement] = [
        (Pattern(#"\?(?=['"])"#), "&ᓷ&"), (Pattern(#"!(?=['"])"#), "&ᓴ&"), (Pattern(#"!(?=,\s[a-z])"#), "&ᓴ&"),
        (Pattern(#"!(?=\s[a-z])"#), "&ᓴ&"),
    ]
    private static let lastExclamation = Pattern("&ᓴ&$")

    private static func cut(_ part: String) -> [String] {
        guard part.unicodeScalars.contains(where: ends.contains) else { return [part] }
        var text = ends.contains(part.unicodeScalars.last!) ? part : "\(part)ȸ"
        text = exclaiming.replacing(in: text) { hidden($0.text) }
        text = hiddenBetween(text)
        if !doubled.isFound(in: text) { text = apply(doubles, to: text) }
        text = ListMarks.hiddenBrackets(apply(quoted, to: text))
        text = lastExclamation.replacing(in: text, with: "!")
        return sentence.matches(in: text).map(\.text)
    }

    private static let singleQuotes = Pattern(#"(?<=\s)'(?:[^']|'[a-zA-Z])*'"#)
    private static let leadingApostrophe = Pattern(#"(?<=\s)'(?:[^']|'[a-zA-Z])*'\S"#)
    private static let apostropheAtEnd = Pattern(#"'\s"#)
    private static let between = [
        #"(?<=\s)‘(?:[^’]|’[a-zA-Z])*’"#, #""(?=([^"\\]+|\\{2}|\\.)*)\1""#, #"\[(?=([^\]\\]+|\\{2}|\\.)*)\1\]"#,
        #"\((?=([^()\\]+|\\{2}|\\.)*)\1\)"#, #"«(?=([^»\\]+|\\{2}|\\.)*)\1»"#, #"--(?=([^-]*))\1--"#,
        #"“(?=([^”\\]+|\\{2}|\\.)*)\1”"#,
    ].map { Pattern($0) }

    /// Hides the marks between quotes, brackets and dashes.
    private static func hiddenBetween(_ text: String) -> String {
        var text = text
        if !leadingApostrophe.isFound(in: text) || apostropheAtEnd.isFound(in: text) {
            text = singleQuotes.replacing(in: text) { hidden($0.text, allMarks.subtracting(["'"])) }
        }
        return between.reduce(text) { text, pattern in pattern.replacing(in: text) { hidden($0.text) } }
    }

    // ------------------------------------------------------------------------------------------------- afterwards

    private static let letters = Pattern(#"\A[a-zA-Z]{3,}\z"#)
    private static let quotedEnd = Pattern(#"(?<=[!?.-]["'“”])\s(?=[A-Z])"#)

    /// The text of a piece again, cut where a quotation ends a sentence.
    private static func restored(_ piece: String) -> [String] {
        var text = apply(showing, to: piece)
        var parts = [text]
        if !letters.isFound(in: text) {
            text = apply(showingEllipses, to: text)
            parts = quotedEnd.split(text)
            if parts.count == 1 { parts = [String(text.unicodeScalars.filter { $0 != "\n" }).trimmed] }
        }
        return parts.filter { !$0.isEmpty }.map { Pattern("&⎋&").replacing(in: $0, with: "'") }
    }

    /// The sentences where they stand in the line, with the spaces behind them.
    private static func found(_ sentences: [String], in line: String) -> [String] {
        var end = 0
        return sentences.compactMap { sentence in
            let pattern = Pattern(NSRegularExpression.escapedPattern(for: sentence) + #"\s*"#)
            guard let match = pattern.matches(in: line).first(where: { $0.end > end }) else { return nil }
            end = match.end
            return match.text
        }
    }
}
