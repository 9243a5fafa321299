/// English money, times, units, ranges, fractions and signs as words and plain numbers.
enum EnglishFigures {
    /// The sentence after every rule, in their order.
    static func written(_ sentence: String) -> String {
        rules.reduce(sentence) { sentence, rule in rule.pattern.replacing(in: sentence, by: rule.spoken) }
    }

    private struct Rule: Sendable {
        let pattern: Pattern
        let spoken: @Sendable (Match) -> String

        init(_ pattern: String, _ spoken: @escaping @Sendable (Match) -> String) {
            self.pattern = Pattern(pattern)
            self.spoken = spoken
        }

        init(_ pattern: String, _ words: String) { self.init(pattern) { _ in words } }
    }

    private static let number = #"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"#
    private static let currencies = [
        "$": ("dollar", "cent"), "€": ("euro", "cent"), "£": ("pound", "penny"), "¥": ("yen", ""),
        "₹": ("rupee", "paisa"),
    ]
    private static let plurals = [
        "penny": "pence", "paisa": "paise", "yen": "yen", "foot": "feet", "inch": "inches", "hertz": "hertz",
    ]
    private static let scales = [
        "k": "thousand", "m": "million", "mn": "million", "bn": "billion", "b": "billion", "tn": "trillion",
    ]
    private static let units = [
        "km/h": "kilometer per hour", "kph": "kilometer per hour", "m/s": "meter per second", "mph": "mile per hour",
        "km": "kilometer", "cm": "centimeter", "mm": "millimeter", "nm": "nanometer", "m": "meter", "mi": "mile",
        "ft": "foot", "yd": "yard", "kg": "kilogram", "g": "gram", "mg": "milligram", "lb": "pound", "lbs": "pound",
        "oz": "ounce", "l": "liter", "L": "liter", "ml": "milliliter", "mL": "milliliter", "Hz": "hertz",
        "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz", "kB": "kilobyte", "KB": "kilobyte",
        "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte", "kW": "kilowatt", "kWh": "kilowatt hour", "W": "watt",
        "V": "volt", "ms": "millisecond", "min": "minute", "hrs": "hour", "hr": "hour", "dB": "decibel",
        "°C": "degree Celsius", "°F": "degree Fahrenheit", "℃": "degree Celsius", "℉": "degree Fahrenheit",
        "°": "degree", "km²": "square kilometer", "m²": "square meter", "m³": "cubic meter", "ft²": "square foot",
        "sq ft": "square foot", "μm": "micrometer", "µm": "micrometer", "kcal": "kilocalorie",
        "rpm": "revolution per minute",
    ]
    private static let fractions = [
        "½": "one half", "⅓": "one third", "⅔": "two thirds", "¼": "one quarter", "¾": "three quarters",
        "⅕": "one fifth", "⅖": "two fifths", "⅗": "three fifths", "⅘": "four fifths", "⅙": "one sixth",
        "⅛": "one eighth", "⅜": "three eighths", "⅝": "five eighths", "⅞": "seven eighths",
    ]
    private static let parts = [
        2: "half", 3: "third", 4: "quarter", 5: "fifth", 6: "sixth", 7: "seventh", 8: "eighth", 9: "ninth",
        10: "tenth",
    ]
    private static let signs = [
        "=": "equals", "≠": "is not equal to", "≤": "is at most", "≥": "is at least", "≈": "is about", "×": "times",
        "÷": "divided by", "±": "plus or minus", "√": "the square root of", "∞": "infinity", "→": "to", "π": "pi",
        "²": "squared", "³": "cubed", "‰": "per mille", "§": "section", "©": "copyright", "α": "alpha", "β": "beta",
    ]
    private static let kings =
        "Louis|Henry|Charles|George|Edward|Richard|William|James|John|Paul|Pius|Elizabeth|Philip|Benedict|Francis|"
        + "Leo|Frederick|Catherine|Peter|Nicholas|Alexander|Napoleon|Gregory"
    private static let roman = "X{0,3}(?:IX|IV|V?I{1,3}|V)|X{1,3}"

    private static let unit = English.choice(units.keys)
    private static let currency = currencies.keys.sorted().map(English.escaped).joined()
    private static let fraction = "[" + fractions.keys.sorted().joined() + "]"
    private static let half = #"([AaPp])\.?([Mm])\b"#

    private static let rules: [Rule] = [
        // Telephones, versions, money.
        Rule(#"(?<![\w/])\+\d{1,3}(?:[ -]\d{2,12}){1,5}\b"#, telephone),
        Rule(#"(?<!\w)(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}\b"#, telephone),
        Rule(#"(?<![\w-])\d{3}-\d{4}\b"#, telephone),
        Rule(#"\b\d+(?:\.\d+){2,}\b"#) { $0.text.split(separator: ".").joined(separator: " point ") },
        Rule("([\(currency)])(\\d+) ?[-–] ?[\(currency)]?(?=\\d)") { "\($0[2]!) to \($0[1]!)" },
        Rule(
            "([-−])?([\(currency)]) ?(\(number))(?: ?((?:thousand|million|billion|trillion|bn|mn|tn)\\b|[kKmMbB]\\b))?"
        ) { money(sign: $0[2]!, amount: $0[3]!, scale: $0[4], isNegative: $0[1] != nil) },
        Rule("(?<!\\d)([-−])?(\(number)) ?([€£¥])") {
            money(sign: $0[3]!, amount: $0[2]!, scale: nil, isNegative: $0[1] != nil)
        },
        // Times and decades.
        Rule(#"(?<![\d:])(\d{1,2}):(\d\d)(?![\d:])(?: ?([AaPp]\.?[Mm]\b\.?))?"#, clock),
        Rule(#"(?<![\d:])(\d{1,2}):(\d\d):(\d\d)(?![\d:])"#) { "\($0[1]!) \($0[2]!) \($0[3]!)" },
        Rule(#"(?<=\d):(?=\d)"#, " to "),
        Rule(#"\b(\d{1,2}) ?"# + half + #"\.?(?! *$)"#) { "\($0[1]!) \($0[2]!.uppercased())M" },
        Rule(#"\b(\d{1,2}) ?"# + half) { "\($0[1]!) \($0[2]!.uppercased())M" },
        Rule(#"\b(\d[\d,]{0,11})(?<=00)th\b"#) { EnglishNumbers.ordinal($0[1]!.filter { $0 != "," }) ?? $0.text },
        Rule(#"\b(1[1-9]|20)(\d0)'?s\b"#, decade),
        Rule(#"(?<!\w)'?()([2-9]0)'?s\b"#, decade),
        // Ranges and minus.
        Rule("(\\d) ?[-–] ?(?=(?:\(number))(?: |\\d|\\.$|$|[,;)%°]|\(unit)))(?<!-\\d -)(?![^=]*=)") { "\($0[1]!) to " },
        Rule(#"(?<=\d) [-−–] (?=\d)"#, " minus "),
        Rule(#"(?<![\w.)])[-−](?=\.?\d)"#, "minus "),
        Rule("−", " minus "),
        Rule(#"(?<![\d.])\.(?=\d)"#, "0."),
        // Units and fractions.
        Rule("(?<!\\d)(\(number)) ?(\(unit))(?![\\w/²³°])(?:\\.(?=\\s+[a-z,]|\\s*$))?") { match in
            let count = match[1]!
            return "\(count) \(plural(units[match[2]!] ?? match[2]!, count))\(English.endOfSentence(match))"
        },
        Rule(#"(?<=\d)(?: ?in\b\.|in\b)(?=[\s,;]|$)"#) { " inches\(English.endOfSentence($0))" },
        Rule(#"(\d)'(\d{1,2})(?:"|'')"#) { "\($0[1]!) feet \($0[2]!)" },
        Rule("(\\d)(\(fraction))") { match in
            let words = fractions[match[2]!] ?? ""
            return "\(match[1]!) and \(words.hasPrefix("one ") ? "a \(words.dropFirst(4))" : words)"
        },
        Rule(fraction) { fractions[$0.text] ?? "" },
        Rule(#"(?<![\w/.])(\d{1,3})/(\d{1,3})(?![\w/])"#, divided),
        Rule(#"(?<=\d)/(?=\d)"#, " slash "),
        // Signs.
        Rule(" ?%", " percent"),
        Rule(#"(?<!\w)#(?=\d)"#, "number "),
        Rule(#"(?<!\w)[~≈](?=\d)"#, "about "),
        Rule(#"(?<=[\w)]) ?\+ ?(?=\d)"#, " plus "),
        Rule(#"(?<=[\w²³)]) \+ (?=\S)"#, " plus "),
        Rule(#"\b([A-Z])\+\+"#) { "\($0[1]!) plus plus" },
        Rule(#"\b([A-Z])#"#) { "\($0[1]!) sharp" },
        Rule(#"(?<=\d) ?[*x×] ?(?=\d)"#, " times "),
        Rule(#"(?<=\d) ?\^ ?(?=\d)"#, " to the power of "),
        Rule(#"\b([A-Z]{1,3})&([A-Z]{1,3})\b"#) { "\(spaced($0[1]!)) and \(spaced($0[2]!))" },
        Rule(" ?& ?", " and "),
        Rule(#"(?<=\d) ?< ?(?=\d)"#, " is less than "),
        Rule(#"(?<=\d) ?> ?(?=\d)"#, " is greater than "),
        Rule("[" + signs.keys.sorted().joined() + "]") { " \(signs[$0.text] ?? "") " },
        // Roman numbers.
        Rule(#"\b([A-Z][a-z]+) ((?=[XVI]{2})(?:"# + roman + #"))\b"#, numeral),
        Rule(#"\b("# + kings + #") ([VX])\b"#, numeral),
        Rule(#"\b(War) (I)\b"#, numeral),
        // Slashes between words.
        Rule(#"(?<=s)/(hour|day|night|week|month|year|person)\b"#) { " per \($0[1]!)" },
        Rule(#"\band/or\b"#, "and or"),
        Rule(#"\bw/o\b"#, "without"),
        Rule(#"\bw/ ?(?=\w)"#, "with "),
        Rule(#"(?<![\w/.-])([A-Za-z]{2,})/([A-Za-z]{2,})(?![\w/])"#) { "\($0[1]!) or \($0[2]!)" },
        Rule(#"(?<=\w)/(?=\w)"#, " slash "),
        Rule(#"(?<=[A-Za-z])(?=\d)(?<=[A-Z]{2})"#, " "),
    ]

    private static func spaced(_ word: String) -> String { word.map { String($0) }.joined(separator: " ") }

    private static func value(_ digits: String?) -> Int {
        (digits ?? "").reduce(0) { 10 * $0 + ($1.wholeNumberValue ?? 0) }
    }

    private static func plural(_ unit: String, _ count: String) -> String {
        if count.filter({ $0 != "," }) == "1" { return unit }
        if let per = unit.range(of: " per ") {
            return plural(String(unit[..<per.lowerBound]), count) + unit[per.lowerBound...]
        }
        let words = unit.split(separator: " ").map { String($0) }
        let last = words.last ?? unit
        if words.count > 1, unit.hasPrefix("degree") { return "degrees \(last)" }
        let plural = plurals[last] ?? (last.hasSuffix("hertz") ? last : "\(last)s")
        return (words.dropLast() + [plural]).joined(separator: " ")
    }

    private static func money(sign: String, amount: String, scale: String?, isNegative: Bool) -> String {
        guard let (unit, small) = currencies[sign] else { return amount }
        let minus = isNegative ? "minus " : ""
        if let scale {
            return "\(minus)\(amount) \(scales[scale.lowercased()] ?? scale) \(plural(unit, scale))"
        }
        let parts = amount.split(separator: ".")
        guard parts.count == 2, parts[1].count == 2, !small.isEmpty else {
            return "\(minus)\(amount) \(plural(unit, amount))"
        }
        let (whole, cents) = (String(parts[0]), value(String(parts[1])))
        var said: [String] = []
        if cents == 0 || whole.contains(where: { $0 != "," && $0.wholeNumberValue != 0 }) {
            said.append("\(whole) \(plural(unit, whole))")
        }
        if cents > 0 { said.append("\(cents) \(plural(small, String(cents)))") }
        return minus + said.joined(separator: " and ")
    }

    @Sendable private static func clock(_ match: Match) -> String {
        let (hour, minute) = (value(match[1]), value(match[2]))
        let half = (match[3] ?? "").filter { $0 != "." }.uppercased()
        guard hour <= 24, minute <= 59 else { return match.text }
        let minutes: String
        switch minute {
        case 0 where !half.isEmpty: minutes = ""
        case 0: minutes = hour > 12 ? "hundred" : "o'clock"
        case 1..<10: minutes = "oh \(minute)"
        default: minutes = "\(minute)"
        }
        let said = ["\(hour)", minutes, half].filter { !$0.isEmpty }.joined(separator: " ")
        return said + English.endOfSentence(match)
    }

    @Sendable private static func decade(_ match: Match) -> String {
        let (century, tens) = (match[1] ?? "", value(match[2]) / 10)
        if tens == 0 { return century == "20" ? "two thousands" : "\(EnglishNumbers.words(value(century))) hundreds" }
        let decade = tens > 1 ? EnglishNumbers.words(10 * tens).dropLast() + "ies" : "tens"
        return century.isEmpty ? String(decade) : "\(EnglishNumbers.words(value(century))) \(decade)"
    }

    @Sendable private static func divided(_ match: Match) -> String {
        let (above, below) = (value(match[1]), value(match[2]))
        guard let part = parts[below], 0 < above, above < below else {
            return (above, below) == (24, 7) || (above, below) == (9, 11)
                ? "\(above) \(below)" : "\(above) over \(below)"
        }
        let words = EnglishNumbers.words(above)
        return above == 1 ? "\(words) \(part)" : below == 2 ? "\(words) halves" : "\(words) \(part)s"
    }

    private static let group = Pattern(#"\d+"#)

    /// A telephone's number: digit by digit, a pause between its groups.
    @Sendable private static func telephone(_ match: Match) -> String {
        let groups = group.matches(in: match.text).map { spaced($0.text) }
        return (match.text.hasPrefix("+") ? "plus " : "") + groups.joined(separator: ", ")
    }

    @Sendable private static func numeral(_ match: Match) -> String {
        let values: [Character: Int] = ["I": 1, "V": 5, "X": 10]
        let digits = (match[2] ?? "").compactMap { values[$0] }
        let number = zip(digits, digits.dropFirst() + [0]).reduce(0) { sum, pair in
            pair.0 < pair.1 ? sum - pair.0 : sum + pair.0
        }
        let name = match[1] ?? ""
        let isKing = kings.split(separator: "|").contains(Substring(name))
        return "\(name) \(isKing ? "the \(EnglishNumbers.ordinal(String(number)) ?? "")" : "\(number)")"
    }
}
