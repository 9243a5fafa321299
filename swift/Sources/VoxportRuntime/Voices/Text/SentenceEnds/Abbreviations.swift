/// English abbreviations, whose full stops end no sentence: ∯ stands for these.
enum Abbreviations {
    static func hidden(_ text: String) -> String {
        var text = possessive.replacing(in: text, with: "∯")
        text = initials.reduce(text) { text, pattern in pattern.replacing(in: text, with: "∯") }
        text = lines(text).map(hiddenInLine).joined()
        text = severalDots.replacing(in: text) { match in
            match.text.unicodeScalars.map { $0 == "." ? "∯" : String($0) }.joined()
        }
        text = halvesOfTheDay.reduce(text) { text, pattern in pattern.replacing(in: text, with: ".") }
        return beforeStarters.replacing(in: text, with: "$1.")
    }

    private static let possessive = Pattern(#"\.(?='s(?:\s|$))"#)
    private static let initials = [
        Pattern(#"(?<=Co)\.(?=\sKG)"#), Pattern(#"(?<=^[A-Z])\.(?=\s)"#), Pattern(#"(?<=\s[A-Z])\.(?=,?\s)"#),
    ]
    private static let severalDots = Pattern(#"\b[a-z](?:\.[a-z])+[.]"#, ignoringCase: true)
    private static let halvesOfTheDay = [
        Pattern(#"(?<= P∯M)∯(?=\s[A-Z])"#), Pattern(#"(?<=[Aa]∯[Mm])∯(?=\s[A-Z])"#), Pattern(#"(?<=p∯m)∯(?=\s[A-Z])"#),
    ]
    private static let beforeStarters = Pattern(
        #"(U∯S|U\.S|U∯K|E∯U|E\.U|U∯S∯A|U\.S\.A|I|i.v|I.V)∯(?=\s(?:A|Being|Did|For|He|How|However|I|In|It|Millions|More"#
            + #"|She|That|The|There|They|We|What|When|Where|Who|Why)\s)"#)

    private static func lines(_ text: String) -> [String] {
        line.matches(in: text).map(\.text)
    }

    private static let line = Pattern(#"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+"#)

    private struct Abbreviation: Sendable {
        let text: String
        let pattern: Pattern

        init(_ text: Substring) {
            self.text = String(text)
            let before: String
            if Abbreviations.beforeNames.contains(text) {
                before = #"\s|:\d+"#
            } else if Abbreviations.beforeNumbers.contains(text) {
                before = #"\s\d|\s+\("#
            } else {
                before = #"[.:?,-]|\s(?:[a-z]|I\s|I'm|I'll|\d|\()"#
            }
            pattern = Pattern("(?<=\\s)((?i:\(text)))\\.(?=\(before))")
        }
    }

    private static func hiddenInLine(_ line: String) -> String {
        let small = line.lowercased()
        return all.reduce(line) { line, abbreviation in
            guard small.contains(abbreviation.text) else { return line }
            // A space before it stands for the start of the line.
            return String(abbreviation.pattern.replacing(in: " \(line)", with: "$1∯").unicodeScalars.dropFirst())
        }
    }

    /// What stands before names, at any end of which a sentence goes on.
    private static let beforeNames: Set<Substring> = Set(
        """
        adm attys brig capt cmdr col cpl det dr gen gov ing lt maj mr mrs ms mt messrs mssrs prof ph rep reps rev sen \
        sens sgt st supt v vs fig
        """.split(separator: " "))
    private static let beforeNumbers: Set<Substring> = ["art", "ext", "no", "nos", "p", "pp"]
    /// In this order; a dot stands for any letter.
    private static let all: [Abbreviation] =
        """
        adj adm adv al ala alta apr arc ariz ark art assn asst attys aug ave bart bld bldg blvd brig bros btw cal calif \
        capt cl cmdr co col colo comdr con conn corp cpl cres ct d.phil dak dec del dept det dist dr dr.phil dr.philos \
        drs e.g ens esp esq etc exp expy ext feb fed fla ft fwy fy ga gen gov hon hosp hr hway hwy i.e ia id ida ill inc \
        ind ing insp is jan jr jul jun kan kans ken ky la lt ltd maj man mar mass may md me med messrs mex mfg mich min \
        minn miss mlle mm mme mo mont mr mrs ms msgr mssrs mt mtn neb nebr nev no nos nov nr oct ok okla ont op ord ore \
        p pa pd pde penn penna pfc ph ph.d pl plz pp prof pvt que rd rs ref rep reps res rev rt sask sec sen sens sep \
        sept sfc sgt sr st supt surg tce tenn tex univ usafa u.s ut va v ver viz vs vt wash wis wisc wy wyo yuk fig
        """.split(separator: " ").map { Abbreviation($0) }
}
