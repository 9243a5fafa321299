/// Figures as English words, as num2words has them without its hyphens and commas.
enum EnglishNumbers {
    /// The words of digits, with a fraction behind a point where there is one; nil for numbers that have no name here.
    static func words(_ digits: String) -> String? {
        let parts = digits.split(separator: ".", omittingEmptySubsequences: false)
        guard let whole = integer(String(parts[0])) else { return nil }
        guard parts.count == 2 else { return whole }
        // A number that is read as such has no zeros at its end.
        let fraction = parts[1].reversed().drop { $0.wholeNumberValue == 0 }.reversed()
        guard !fraction.isEmpty else { return whole }
        return "\(whole) point \(each(String(fraction)))"
    }

    /// The same of a number that is small enough to have a name.
    static func words(_ number: Int) -> String { integer(String(number)) ?? String(number) }

    /// Each digit by itself.
    static func each(_ digits: String) -> String {
        digits.map { units[$0.wholeNumberValue ?? 0] }.joined(separator: " ")
    }

    /// The place in a row: twenty first.
    static func ordinal(_ digits: String) -> String? {
        guard let words = integer(digits) else { return nil }
        var parts = words.split(separator: " ").map { String($0) }
        let last = parts.removeLast()
        let ordinal = ordinals[last] ?? (last.hasSuffix("y") ? "\(last.dropLast())ieth" : "\(last)th")
        return (parts + [ordinal]).joined(separator: " ")
    }

    /// A number of four digits as a year is said: nineteen oh five.
    static func year(_ number: Int) -> String {
        let (century, rest) = (number / 100, number % 100)
        if century == 0 || century >= 100 || (century % 10 == 0 && rest < 10) { return words(number) }
        switch rest {
        case 0: return "\(words(century)) hundred"
        case 1..<10: return "\(words(century)) oh \(words(rest))"
        default: return "\(words(century)) \(words(rest))"
        }
    }

    private static func integer(_ digits: String) -> String? {
        let significant = digits.map { $0.wholeNumberValue ?? 0 }.drop { $0 == 0 }
        guard !significant.isEmpty else { return units[0] }
        guard significant.count <= 3 * scales.count else { return nil }
        let values = [Int](repeating: 0, count: (3 - significant.count % 3) % 3) + significant
        var words: [String] = []
        for start in stride(from: 0, to: values.count, by: 3) {
            let group = values[start] * 100 + values[start + 1] * 10 + values[start + 2]
            guard group > 0 else { continue }
            let scale = values.count / 3 - start / 3 - 1
            if scale == 0, !words.isEmpty, group < 100 { words.append("and") }
            words += belowThousand(group)
            if scale > 0 { words.append(scales[scale]) }
        }
        return words.joined(separator: " ")
    }

    private static func belowThousand(_ number: Int) -> [String] {
        var words: [String] = []
        if number >= 100 { words += [units[number / 100], "hundred"] }
        let rest = number % 100
        if !words.isEmpty, rest > 0 { words.append("and") }
        if rest >= 20 {
            words.append(tens[rest / 10])
            if rest % 10 > 0 { words.append(units[rest % 10]) }
        } else if rest > 0 {
            words.append(units[rest])
        }
        return words
    }

    private static let units = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
        "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    ]
    private static let tens = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
    private static let ordinals = [
        "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
        "twelve": "twelfth",
    ]
    private static let scales = [
        "", "thousand", "million", "billion", "trillion", "quadrillion", "quintillion", "sextillion", "septillion",
        "octillion", "nonillion", "decillion",
    ]
}
