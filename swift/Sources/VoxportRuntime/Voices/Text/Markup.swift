/// Markup in a text that is to be spoken: SSML, HTML and Markdown are taken out, and the user is told.
enum Markup {
    /// The text that is left, and what the user is to know of the rest. `<break>` and blocks end a sentence; a list
    /// keeps its numbers.
    static func removed(from text: String) -> (String, [String]) {
        var (text, tags) = withoutTags(text)
        var notes: [String] = []
        if !tags.isEmpty { notes.append("tags are not spoken: \(tags.prefix(10).joined(separator: ", "))") }
        let isMarkdown: Bool
        (text, isMarkdown) = withoutMarkdown(text)
        if isMarkdown { notes.append("Markdown's marks are not spoken") }
        return (text, notes)
    }

    // ------------------------------------------------------------------------------------------------ SSML, HTML

    // SSML 1.1 (W3C, 2010) and its vendors' prefixes; of HTML what stands in texts that people copy.
    private static let pausing: Set<String> = [
        "speak", "break", "p", "s", "audio", "h1", "h2", "h3", "h4", "h5", "h6", "br", "hr", "div", "li", "ul", "ol",
        "table", "tr", "td", "th", "title", "blockquote",
    ]
    private static let names = pausing.union([
        "emphasis", "say-as", "prosody", "phoneme", "sub", "voice", "lang", "mark", "w", "token", "desc", "lexicon",
        "lookup", "meta", "metadata", "html", "head", "body", "span", "a", "b", "i", "u", "em", "strong", "code",
        "pre", "small", "sup", "font", "img", "script", "style",
    ])
    private static let tag = Pattern(#"<(/?)((?:[a-z]+:)?[a-z][a-z0-9-]*)((?:\s[^<>]*|/)?)>"#, ignoringCase: true)
    private static let remark = Pattern(
        #"<!--(?s:.{0,4000}?)-->|<\?xml[^<>]*>|<!doctype[^<>]*>|<(script|style)\b[^<>]*>(?s:.{0,4000}?)</\1>"#,
        ignoringCase: true)
    private static let alias = Pattern(#"<sub\s+alias=["']([^"'<>]*)["']\s*>[^<>]*</sub>"#, ignoringCase: true)
    private static let entity = Pattern(#"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z]{2,8}\d?);"#, ignoringCase: true)

    private static func withoutTags(_ text: String) -> (String, [String]) {
        var text = text
        if text.unicodeScalars.contains("<") {
            text = alias.replacing(in: text, with: "$1<sub>")
            text = remark.replacing(in: text, with: " ")
        }
        let found = tag.matches(in: text).compactMap { name(of: $0) }
        text = tag.replacing(in: text) { match in
            guard let name = name(of: match) else { return match.text }
            if pausing.contains(local(name)) { return "\n\n" }
            return match[3]?.hasSuffix("/") == true ? " " : ""
        }
        var tags: [String] = []
        for name in found where !tags.contains(name) { tags.append(name) }
        return (entity.replacing(in: text) { Entities.character($0.text) }, tags)
    }

    /// The name of what is a tag; nil for other words in angle brackets.
    private static func name(of match: Match) -> String? {
        guard let name = match[2]?.lowercased() else { return nil }
        return name.contains(":") || names.contains(name) ? name : nil
    }

    private static func local(_ name: String) -> String {
        name.split(separator: ":", omittingEmptySubsequences: false).last.map { String($0) } ?? name
    }

    // -------------------------------------------------------------------------------------------------- Markdown

    // CommonMark 0.31, and the tables and tasks of GitHub's, line by line.
    private static let rule = Pattern(#"^ {0,3}(?:```.*|~~~.*|(?:[-*_=] *){3,}|[|:][ |:-]+)$"#, byLine: true)
    private static let heading = Pattern(#"^ {0,3}#{1,6} +"#, byLine: true)
    private static let link = Pattern(
        #"!?\[([^\]\[\n]{0,300})\]\([^()\s]{1,2000}(?: "[^"\n]{0,300}")?\)"#)
    private static let inline = [
        Pattern(#"(\*\*|__|~~|``)(?=\S)(.{1,500}?)(?<=\S)\1"#),
        Pattern(#"(?<![\w*])(\*)(?=[^\s*])([^*\n]{1,500})(?<=\S)\*(?![\w*])"#),
        Pattern(#"(?<!\w)(_)(?=[^\s_])([^_\n]{1,500})(?<=\S)_(?!\w)"#),
        Pattern(#"(`)([^`\n]{1,500})`"#),
    ]
    private static let bullet = Pattern(
        #"^ *(?:>[> ]*(?:[*+-] +)?|[*+•‣◦▪·–—-] +(?:\[[ xX]\] +)?)"#, byLine: true)
    private static let row = Pattern(#"^ *\|(.*?)\|? *$"#, byLine: true)
    private static let number = Pattern(#"^ *(\d{1,2})[.)] +(?=\S)"#, byLine: true)

    private static func withoutMarkdown(_ text: String) -> (String, Bool) {
        var plain = rule.replacing(in: text, with: "")
        plain = heading.replacing(in: plain, with: "\n")
        plain = link.replacing(in: plain, with: "$1")
        for pattern in inline { plain = pattern.replacing(in: plain, with: "$2") }
        let isMarkdown = !plain.unicodeScalars.elementsEqual(text.unicodeScalars)
        plain = bullet.replacing(in: plain, with: "\n")
        plain = row.replacing(in: plain) { row in
            let cells = (row[1] ?? "").unicodeScalars.split(separator: "|").map { String($0).trimmed }
            return "\n" + cells.filter { !$0.isEmpty }.joined(separator: ", ")
        }
        return (number.replacing(in: plain, with: "\n$1, "), isMarkdown)
    }
}
