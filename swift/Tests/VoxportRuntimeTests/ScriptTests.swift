import Foundation
import Testing

@testable import VoxportRuntime

@Suite struct Scripts {
    struct Case: Decodable {
        let text: String
        let settings: TextSettings
        let sentences: [String]
        let notes: [String]
    }

    @Test(.enabled(if: Fixtures.areThere)) func textsAreSaidAsPythonSaysThem() throws {
        let cases = try Fixtures.cases("spoken", Case.self)
        func scalars(_ texts: [String]) -> [[Unicode.Scalar]] { texts.map { Array($0.unicodeScalars) } }
        for one in cases {
            let script = try Script(one.text, one.settings)
            let what: Comment = "\(one.text), \(one.settings.phonemizer): \(script.sentences)"
            #expect(scalars(script.sentences) == scalars(one.sentences), what)
            #expect(scalars(script.notes) == scalars(one.notes), what)
        }
        report("texts as people have them", "\(cases.count) equal")
    }

    @Test func figuresOfOtherLanguagesAreRefusedWhereLettersAreRead() throws {
        let settings = TextSettings(
            symbols: ["a": [1]], begin: [], between: [], end: [], phonemizer: "", language: "fr-fr", cleaning: [])
        #expect(throws: VoxportError.text("this runtime has no words for figures in fr-fr: write them out")) {
            try Script("il y en a 3", settings)
        }
        #expect(try Script("aucun. Voila", settings).sentences == ["aucun.", "Voila"])
    }

    @Test func whatHasNoWordsHasNoSentences() throws {
        let settings = TextSettings(
            symbols: ["a": [1]], begin: [], between: [], end: [], phonemizer: "", language: "en", cleaning: [])
        for text in ["", " \n", "... !", "😀"] { #expect(try Script(text, settings).sentences.isEmpty) }
    }
}
