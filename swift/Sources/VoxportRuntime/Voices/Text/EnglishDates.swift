/// English dates as months and days.
enum EnglishDates {
    /// The sentence with its dates in words: 2023-05-12, 12/05/2023, 3 May, April 1.
    static func written(_ sentence: String, isDayFirst: Bool) -> String {
        var text = international.replacing(in: sentence) { match in
            date(match[1] ?? "", month: number(match[2]), day: number(match[3])) ?? match.text
        }
        text = slashed.replacing(in: text) { match in
            let (first, second) = (number(match[1]), number(match[2] ?? match[4]))
            let year = match[3] ?? match[5] ?? ""
            let months = isDayFirst ? [second, first] : [first, second]
            return zip(months, months.reversed()).lazy.compactMap { date(year, month: $0, day: $1) }.first ?? match.text
        }
        text = dayOfMonth.replacing(in: text) { match in
            let day = number(match[2])
            return 1...31 ~= day ? "\(match[1] ?? "") \(ordinal(day))" : match.text
        }
        return dayBeforeMonth.replacing(in: text) { match in
            let day = number(match[1])
            let article = match.before.lowercased().hasSuffix("the ") ? "" : "the "
            return 1...31 ~= day ? "\(article)\(ordinal(day)) of " : match.text
        }
    }

    private static let months = [
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
    ]
    private static let international = Pattern(#"\b(\d{4})-(\d\d)-(\d\d)\b"#)
    private static let slashed = Pattern(#"\b(\d{1,2})(?:/(\d{1,2})/(\d{4}|\d\d)|-(\d\d)-(\d{4}))\b"#)
    private static let dayOfMonth = Pattern(
        #"\b("# + months.joined(separator: "|") + #") (\d{1,2})(?=,? \d{4}\b|[.,;!?]|$)"#)
    private static let dayBeforeMonth = Pattern(#"\b(\d{1,2}) (?=(?:"# + months.joined(separator: "|") + #")\b)"#)

    private static func date(_ year: String, month: Int, day: Int) -> String? {
        guard 1...12 ~= month, 1...31 ~= day else { return nil }
        return "\(months[month - 1]) \(ordinal(day)), \(year.unicodeScalars.count == 4 ? year : "20\(year)")"
    }

    private static func ordinal(_ number: Int) -> String { EnglishNumbers.ordinal(String(number)) ?? "" }

    private static func number(_ digits: String?) -> Int {
        (digits ?? "").reduce(0) { 10 * $0 + ($1.wholeNumberValue ?? 0) }
    }
}
