/// Marks that a voice does not know, as those that it does, with a space where words would be glued.
struct Marks {
    private let dash: String
    private let ellipsis: String

    init(_ settings: TextSettings) {
        dash = settings.symbols["—"] == nil ? ", " : " — "
        ellipsis = settings.symbols["…"] == nil ? ", " : "… "
    }

    func mended(_ sentence: String) -> String {
        var text = Self.gluedBrackets.replacing(in: sentence, with: " ")
        text = Self.gluedQuotes.replacing(in: text, with: "\" ")
        text = Self.gluedStops.replacing(in: text, with: "$1 ")
        text = Self.gluedSigns.replacing(in: text) { $0.text.contains("_") ? " " : ": " }
        text = Self.dashes.replacing(in: text, with: dash)
        text = Self.hyphens.replacing(in: text, with: "-")
        text = Self.ellipses.replacing(in: text, with: ellipsis)
        text = Self.repeatedEnds.replacing(in: text, with: "$1")
        text = Self.spaces.replacing(in: text, with: " ")
        text = Self.spaceBefore.replacing(in: text, with: "$1")
        text = Self.repeated.replacing(in: text, with: ",")
        text = Self.endThenComma.replacing(in: text, with: "$1")
        text = Self.commaThenEnd.replacing(in: text, with: "$2")
        text = Self.leading.replacing(in: text, with: "").trimmed
        guard text.hasSuffix(",") || text.hasSuffix(";") else { return text }
        text = text.trimmedAtEnd(",; ")
        return [".", "!", "?"].contains(where: text.hasSuffix) ? text : "\(text)."
    }

    private static let gluedBrackets = Pattern(#"(?<=[^\W_])(?=[(\[\{])|(?<=[)\]\}])(?=[^\W_])"#)
    private static let gluedQuotes = Pattern(#"(?<=\w)"(?=\w)"#)
    private static let gluedStops = Pattern(#"(?<=[^\W\d_]{2})([,;!?])(?=[^\W_])"#)
    private static let gluedSigns = Pattern(#"(?<=[^\W\d])_+(?=\w)|(?<=[a-z]):(?=[A-Z])"#)
    private static let dashes = Pattern(#"\s*(?:[—―⸺]|--+)\s*|\s+[-–‒]+\s+|(?<=[^\W\d_])[–‒](?=[^\W\d_])"#)
    private static let hyphens = Pattern("[‐‑‒–−]")
    private static let ellipses = Pattern(#"\s*(?:…|\.(?:\s?\.)+)\s*"#)
    private static let repeatedEnds = Pattern(#"([.!?])(?:[.!?])+(?=\s|$)"#)
    private static let spaces = Pattern(#"\s+"#)
    private static let spaceBefore = Pattern(#"\s+([,;:.!?])"#)
    private static let repeated = Pattern(#"[,;:](?:\s*[,;:])+"#)
    private static let endThenComma = Pattern(#"([!?])\s*,"#)
    private static let commaThenEnd = Pattern(#"([,;:])\s*([.!?])"#)
    private static let leading = Pattern(#"^[\s,;:.]+(?!\d)"#)
}
