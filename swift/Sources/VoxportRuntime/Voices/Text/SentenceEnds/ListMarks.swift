/// Letters and numbers of lists within a line (a. … b. …, 1) … 2) …): their marks end no sentence, and a new item begins
/// a sentence (`\r`).
enum ListMarks {
    static func broken(_ text: String) -> String {
        var text = text
        for names in [letters, romans] {
            text = lettered(text, names, found: letterBeforeDot) { text, name in
                letterAndDot.replacing(in: text) { $0.text == "\(name)." ? "\r\(name)∯" : $0.text }
            }
            text = lettered(text, names, found: lettersBeforeBracket) { text, name in
                lettersInBracket.replacing(in: text) { match in
                    match.text == name ? "\r\(name)" : match.text == "(\(name)" ? "\r&✂&\(name)" : match.text
                }
            }
        }
        text = numbered(text, found: numberBeforeDot, replaced: numberAndDot, by: "♨")
        if text.contains("♨"), !itemsOfLines.isFound(in: text), !forNumber.isFound(in: text) {
            text = beforeItem.replacing(in: text, with: "\r")
            text = beforeNumberedItem.replacing(in: text, with: "\r")
        }
        text = Pattern("♨").replacing(in: text, with: "∯")
        for _ in 0..<2 { text = numbered(text, found: numberBeforeBracket, replaced: numberBeforeBracket, by: "☝") }
        if text.contains("☝"), !bracketedItemsOfLines.isFound(in: text) {
            text = beforeBracketedItem.replacing(in: text, with: "\r")
        }
        return Pattern("☝").replacing(in: text, with: "")
    }

    /// Hides the brackets around Roman numbers before a capital letter.
    static func hiddenBrackets(_ text: String) -> String { romanInBrackets.replacing(in: text, with: "&✂&$1&⌬&") }

    // ---------------------------------------------------------------------------------------------------- letters

    /// Places in the row of names. Some Roman numbers stand twice in pysbd's, so that xiv and xv are no neighbours.
    private static let letters = Dictionary(
        uniqueKeysWithValues: "abcdefghijklmnopqrstuvwxyz".enumerated().map { (String($1), $0) })
    private static let romans = [
        "i": 0, "ii": 1, "iii": 2, "iv": 3, "v": 4, "vi": 5, "vii": 6, "viii": 7, "ix": 8, "x": 9, "xi": 10, "xii": 11,
        "xiii": 12, "xiv": 13, "xv": 18, "xvi": 19, "xvii": 20, "xviii": 21, "xix": 22, "xx": 23,
    ]

    private static let letterBeforeDot = Pattern(#"(?:^|(?<=\s))[a-z](?=\.)"#)
    private static let letterAndDot = Pattern(#"(?:^|(?<=\s))[a-z]\."#, ignoringCase: true)
    private static let lettersBeforeBracket = Pattern(#"(?:^|(?<=[(\s]))[a-z]+(?=\))"#)
    private static let lettersInBracket = Pattern(#"(?:\(|^|(?<=\s))[a-z]+(?=\))"#, ignoringCase: true)
    private static let romanInBrackets = Pattern(
        #"\(((?=[mdclxvi])m*(?:c[md]|d?c*)(?:x[cl]|l?x*)(?:i[xv]|v?i*))\)(?=\s[A-Z])"#)

    private static func lettered(
        _ text: String, _ places: [String: Int], found: Pattern, replaced: (String, String) -> String
    ) -> String {
        let names = found.matches(in: text).map(\.text).filter { places[$0] != nil }
        let row = names.map { places[$0]! }
        var text = text
        for index in row.indices {
            // The one before the first is the last.
            let follows = abs(row[(index + row.count - 1) % row.count] - row[index]) == 1
            let isFollowed = index + 1 < row.count && row[index + 1] - row[index] == 1
            if follows || isFollowed { text = replaced(text, names[index]) }
        }
        return text
    }

    // ---------------------------------------------------------------------------------------------------- numbers

    private static let numberBeforeDot = Pattern(
        #"(?:\s|^|(?<=\s[-⁃])|(?<=^[-⁃]))\d{1,2}(?=\.\s)|(?:\s|^|(?<=s-)|(?<=^-)|(?<=\s⁃)|(?<=^⁃))\d{1,2}(?=\.\))"#)
    private static let numberAndDot = Pattern(
        #"(?:(?<=\s)|^|(?<=\s[-⁃])|(?<=^[-⁃]))\d{1,2}\.(?=[\s)])"#)
    private static let numberBeforeBracket = Pattern(#"\d{1,2}(?=\)\s)"#)
    private static let itemsOfLines = Pattern("♨.+[\n\r].+♨")
    private static let bracketedItemsOfLines = Pattern("☝.+[\n\r].+☝")
    private static let forNumber = Pattern(#"for\s\d{1,2}♨\s[a-z]"#)
    private static let beforeItem = Pattern(#"(?<=\S\S)\s(?=\S\s*\d+♨)"#)
    private static let beforeNumberedItem = Pattern(#"(?<=\S\S)\s(?=\d{1,2}♨)"#)
    private static let beforeBracketedItem = Pattern(#"(?<=\S\S)\s(?=\d{1,2}☝)"#)

    private static func numbered(
        _ text: String, found: Pattern, replaced: Pattern, by mark: String
    ) -> String {
        let row = found.matches(in: text).map { match in
            match.text.reduce(0) { number, digit in digit.wholeNumberValue.map { 10 * number + $0 } ?? number }
        }
        var text = text
        for (index, item) in row.enumerated() {
            let isFollowed = index + 1 < row.count && item + 1 == row[index + 1]
            let before = index > 0 ? row[index - 1] : nil
            let follows = before.map { item - 1 == $0 || (item == 0 && $0 == 9) || (item == 9 && $0 == 0) } ?? false
            guard isFollowed || follows else { continue }
            text = replaced.replacing(in: text) { match in
                match.text.trimmedAtEnd(".") == String(item) ? "\(item)\(mark)" : match.text
            }
        }
        return text
    }
}
