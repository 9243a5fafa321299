/// English abbreviations, addresses, dates and capitals as words and plain numbers.
///
/// What is left as a number (2.0, 21st, 1942, 1,234) is said by a phonemizer or, for voices of letters, by
/// ``numbersAsWords(_:)``.
enum English {
    /// Writes out addresses, and names whose full stops would be taken for the ends of sentences.
    static func wholeNames(_ line: String) -> String {
        var line = dots.replacing(in: addresses(line), with: " dot ")
        line = companyBefore.replacing(in: line, with: "Company ")
        return joining.replacing(in: line) { "\(anywhere[($0[1] ?? "").lowercased()] ?? $0.text) " }
    }

    /// Writes out the abbreviations, money, times, dates, units, ranges and signs of a sentence.
    static func expanded(_ sentence: String, _ settings: TextSettings) -> String {
        let language = settings.language.lowercased().replacingOccurrences(of: "_", with: "-")
        let isDayFirst = language.hasPrefix("en-") && !language.hasPrefix("en-us")
        // This step writes "misess", which models of Coqui's cleaners have learnt.
        let keepsMrs = settings.cleaning.contains("abbreviations")
        var sentence = abbreviations(sentence, keepsMrs: keepsMrs)
        sentence = EnglishDates.written(sentence, isDayFirst: isDayFirst)
        sentence = EnglishFigures.written(sentence)
        return capitals(sentence, settings)
    }

    private static let dots = Pattern(#"(?<=[a-z]{2})\.(?=[a-z])|(?<![\w.])\.(?=[a-z])"#)  // a file's
    private static let companyBefore = Pattern(#"\bCo\. (?=(?:Ltd|Inc)\b)"#)
    private static let joining = Pattern(#"\b(approx|vs)\. (?=\S)"#, ignoringCase: true)

    // ------------------------------------------------------------------------------------------------- addresses

    private static let addressed = [
        Pattern(#"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}\b"#),
        Pattern(#"\b(?:https?://|ftp://|www\.)[^\s<>"]{1,2000}"#, ignoringCase: true),
        Pattern(
            #"\b(?:[a-z0-9-]{1,63}\.){1,8}(?:com|org|net|edu|gov|io|dev|uk|de|eu)\b(?:/[^\s<>"]{0,2000})?"#,
            ignoringCase: true),
        Pattern(#"(?<![\w/.~<])(?:~|\.{1,2})?/[\w.-]{1,200}(?:/[\w.-]{1,200}){0,50}/?"#),
    ]
    private static let scheme = Pattern(#"^(?:https?://|ftp://)?(?:www\.)?"#, ignoringCase: true)
    private static let sign = Pattern(#"[^\w\s]|_"#)
    private static let signs = [
        ".": "dot", "/": "slash", "-": "dash", "_": "underscore", "@": "at", "?": "question mark", "=": "equals",
        "&": "and", "#": "hash", "%": "percent", "+": "plus", ":": "colon", "~": "tilde",
    ]

    /// Reads what a person reads: no scheme, no www, every sign by its name.
    private static func addresses(_ line: String) -> String {
        addressed.reduce(line) { line, pattern in
            pattern.replacing(in: line) { match in
                let kept = match.text.trimmedAtEnd(".,;:!?)'")
                let plain = scheme.replacing(in: kept) { _ in "" }.trimmedAtEnd("/")
                let words = sign.replacing(in: plain) { " \(signs[$0.text] ?? "") " }
                let end = String(match.text.unicodeScalars.dropFirst(kept.unicodeScalars.count))
                return words.unicodeScalars.split(whereSeparator: \.properties.isWhitespace).map { String($0) }
                    .joined(separator: " ") + end
            }
        }
    }

    // --------------------------------------------------------------------------------------------- abbreviations

    private static let beforeNames = [
        "mr": "mister", "dr": "doctor", "prof": "professor", "gen": "general", "sen": "senator",
        "rep": "representative", "gov": "governor", "capt": "captain", "lt": "lieutenant", "col": "colonel",
        "sgt": "sergeant", "maj": "major", "rev": "reverend", "hon": "honorable", "pres": "president", "mt": "mount",
        "ft": "fort", "fr": "father",
    ]
    private static let anywhere = [
        "vs": "versus", "approx": "approximately", "etc": "et cetera", "jr": "junior", "sr": "senior",
        "ltd": "limited", "inc": "incorporated", "co": "company", "corp": "corporation", "esq": "esquire",
        "dept": "department", "ave": "avenue", "rd": "road", "blvd": "boulevard", "hwy": "highway", "apt": "apartment",
        "est": "established", "jan": "january", "feb": "february", "mar": "march", "apr": "april", "aug": "august",
        "sept": "september", "sep": "september", "oct": "october", "nov": "november", "dec": "december",
        "mon": "monday", "tue": "tuesday", "tues": "tuesday", "wed": "wednesday", "thu": "thursday",
        "thurs": "thursday", "fri": "friday", "e.g": "for example", "i.e": "that is", "cf": "compare", "ca": "about",
        "et al": "and others",
    ]
    private static let beforeFigures = [
        "no": "number", "nos": "numbers", "p": "page", "pp": "pages", "fig": "figure", "vol": "volume",
        "ch": "chapter", "sec": "section", "eq": "equation", "art": "article", "nr": "number",
    ]
    /// Months, days and streets are capital letters' own: "sat." and "mar." end sentences too.
    private static let capitalOnly: Set<String> = [
        "jan", "feb", "mar", "apr", "aug", "sep", "oct", "nov", "dec", "mon", "tue", "wed", "thu", "fri", "ave",
        "est", "apt", "ca", "co", "inc",
    ]

    private static let missus = Pattern(#"\bMrs\b\.?(?= *[A-Z])"#)
    private static let miz = Pattern(#"\bMs\b\.?(?= *[A-Z])"#)
    private static let misterAnd = Pattern(#"\bMr\.(?= and\b)"#)
    private static let named = Pattern(
        #"(?<!\d)(?<!\d )\b("# + choice(beforeNames.keys)
            + #")\.(?= *(?-i:[A-Z]))|\b(mr|dr|prof)(?= +(?-i:[A-Z][a-z]))"#, ignoringCase: true)
    private static let street = Pattern(#"\b(?<=[a-z] )St(?:\.|\b(?!\.))(?=["')]*\s*(?:$|[,;!?]|[a-z]))"#)
    private static let saint = Pattern(#"\bSt\.? *(?=[A-Z])"#)
    private static let doctorate = Pattern(#"\bPh\.? ?D\b\.?"#)
    private static let common = Pattern(#"\b("# + choice(anywhere.keys) + #")\."#, ignoringCase: true)
    private static let counted = Pattern(
        #"\b("# + choice(beforeFigures.keys) + #")\. ?(?=\d)"#, ignoringCase: true)
    private static let numero = Pattern(#"№ ?(?=\d)"#)
    private static let initials = Pattern(#"\b(?:[A-Z]\. ?)+(?=[A-Z][a-z])"#)
    private static let dotted = Pattern(#"\b(?:[A-Za-z]\.){2,}"#)

    private static func abbreviations(_ sentence: String, keepsMrs: Bool) -> String {
        var text = keepsMrs ? sentence : missus.replacing(in: sentence, with: "Missus")
        text = miz.replacing(in: text, with: "Miz")
        text = misterAnd.replacing(in: text, with: "Mister")
        text = named.replacing(in: text) { match in
            let word = beforeNames[match.text.trimmedAtEnd(".").lowercased()].map { cased($0, like: match.text) }
            let isBeforeLetter = match.after.unicodeScalars.first?.isLetter == true
            return (word ?? match.text) + (isBeforeLetter ? " " : "")
        }
        text = street.replacing(in: text) { "Street\(endOfSentence($0))" }
        text = saint.replacing(in: text, with: "Saint ")
        text = doctorate.replacing(in: text) { "P H D\(endOfSentence($0))" }
        text = common.replacing(in: text, by: written)
        text = counted.replacing(in: text) { match in
            beforeFigures[(match[1] ?? "").lowercased()].map { "\(cased($0, like: match.text)) " } ?? match.text
        }
        text = numero.replacing(in: text, with: "number ")
        text = initials.replacing(in: text) { withoutDots($0.text, " ") }
        return dotted.replacing(in: text) { match in
            let letters = withoutDots(match.text)
            switch letters.lowercased() {
            case "eg": return "for example"
            case "ie": return "that is"
            default: return letters.uppercased() + endOfSentence(match)
            }
        }
    }

    private static func written(_ match: Match) -> String {
        let written = match[1] ?? ""
        let name = written.lowercased()
        guard let word = anywhere[name] else { return match.text }
        if capitalOnly.contains(name), written.unicodeScalars.first?.properties.isUppercase != true {
            let next = match.after.unicodeScalars.first { !$0.properties.isWhitespace }
            return name == "ca" && next?.properties.numericType != nil ? "about" : match.text
        }
        return cased(word, like: match.text) + endOfSentence(match)
    }

    /// The full stop of an abbreviation that ends the sentence is the sentence's too.
    static func endOfSentence(_ match: Match) -> String {
        match.text.hasSuffix(".") && match.after.trimmed("\"') ").isEmpty ? "." : ""
    }

    private static func cased(_ word: String, like text: String) -> String {
        text.unicodeScalars.first?.properties.isUppercase == true
            ? word.prefix(1).uppercased() + word.dropFirst() : word
    }

    private static func withoutDots(_ text: String, _ instead: String = "") -> String {
        text.unicodeScalars.map { $0 == "." ? instead : String($0) }.joined()
    }

    /// One of these words in a pattern, the longest first.
    static func choice(_ words: some Sequence<String>) -> String {
        words.sorted { ($1.count, $0) < ($0.count, $1) }.map(escaped).joined(separator: "|")
    }

    static func escaped(_ text: String) -> String {
        text.map { #".+*?^$()[]{}|\-"#.contains($0) ? "\\\($0)" : String($0) }.joined()
    }

    // --------------------------------------------------------------------------------------------------- numbers

    private static let plain = Pattern(#"(\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:[.](\d+))?((?:st|nd|rd|th)\b)?"#)

    /// Says plain numbers, for voices of letters.
    static func numbersAsWords(_ sentence: String) -> String {
        plain.replacing(in: sentence) { match in
            let whole = match[1] ?? ""
            let digits = String(whole.filter { $0 != "," })
            guard let fraction = match[2] else {
                return wholeNumber(digits, hasCommas: whole != digits, isOrdinal: match[3] != nil).apart(in: match)
            }
            // A number that has no name is said digit by digit.
            let words = EnglishNumbers.words(digits).map { "\($0) point \(EnglishNumbers.each(fraction))" }
            return (words ?? EnglishNumbers.each(digits + fraction)).apart(in: match)
        }
    }

    private static func wholeNumber(_ digits: String, hasCommas: Bool, isOrdinal: Bool) -> String {
        let isLong = digits.count > 36
        if isOrdinal { return EnglishNumbers.ordinal(isLong ? "0" : digits) ?? EnglishNumbers.each(digits) }
        if isLong || (digits.count > 1 && digits.first == "0") { return EnglishNumbers.each(digits) }
        let number = digits.reduce(0.0) { 10 * $0 + Double($1.wholeNumberValue ?? 0) }
        if !hasCommas, 1100..<2100 ~= number, !(2000..<2010 ~= number) { return EnglishNumbers.year(Int(number)) }
        return EnglishNumbers.words(digits) ?? EnglishNumbers.each(digits)
    }

    // -------------------------------------------------------------------------------------------------- capitals

    private static let words = Pattern("[A-Za-z]{2,}")
    private static let inCapitals = Pattern(#"\b[A-Z]{2,}\b"#)
    private static let articleLike = Pattern(#"\bA (?=[A-Z]\b)"#)
    private static let shortWords: Set<Substring> = Set(
        """
        AN AS AT BE BY DO GO HE IF IN IS IT ME MY NO OF OH ON OR SO TO UP WE ALL AND ANY ARE BAD BIG BUT CAN DAY DID \
        END FOR GET GOD GOT HAD HAS HER HIM HIS HOT HOW ITS LET MAN MAY NEW NOT NOW OLD ONE OUR OUT RUN SAY SEE SHE \
        SIR SIX TEN THE TOO TWO WAS WAY WHO WHY YES YET YOU
        """.split(separator: " "))

    /// Shouted sentences in small letters; for voices of letters, short words of capitals letter by letter.
    private static func capitals(_ sentence: String, _ settings: TextSettings) -> String {
        let found = words.matches(in: sentence).map(\.text)
        let isShouted = found.count > 1 && found.allSatisfy { $0 == $0.uppercased() }
        if isShouted, found.contains(where: { shortWords.contains(Substring($0)) || $0.count > 5 }) {
            return sentence.lowercased()
        }
        if settings.phonemizer == "espeak" {
            return articleLike.replacing(in: sentence, with: "Eigh ")  // it takes an A by itself for the article
        }
        if !settings.phonemizer.isEmpty { return sentence }
        return inCapitals.replacing(in: sentence) { match in
            let word = match.text
            let isLong = word.count > 3 && word.contains { "AEIOUY".contains($0) }
            let isWord = shortWords.contains(Substring(word)) || isLong
            return isWord ? word.lowercased() : word.map { String($0) }.joined(separator: " ")
        }
    }
}
