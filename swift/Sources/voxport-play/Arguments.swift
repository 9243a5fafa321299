import Foundation
import VoxportRuntime

/// What was typed: positional words, and options with a value each.
struct Arguments {
    private(set) var positional: [String] = []
    private var options: [String: [String]] = [:]

    /// Throws ``UsageError`` for an option that is not known, and one without a value.
    init(_ words: [String], options known: Set<String>) throws {
        var rest = words[...]
        while let word = rest.popFirst() {
            guard word.hasPrefix("--") else {
                positional.append(word)
                continue
            }
            let name = String(word.dropFirst(2))
            guard known.contains(name) else { throw UsageError("there is no option \(word) here") }
            guard let value = rest.popFirst() else { throw UsageError("\(word) wants a value") }
            options[name, default: []].append(value)
        }
    }

    subscript(option: String) -> String? { options[option]?.last }

    /// Every value of an option that may come again.
    func all(_ option: String) -> [String] { options[option] ?? [] }

    func number(_ option: String) throws -> Int? {
        guard let text = self[option] else { return nil }
        guard let number = Int(text), number > 0 else {
            throw UsageError("--\(option) wants a positive number, got \(text)")
        }
        return number
    }

    /// A number from 0 on.
    func count(_ option: String) throws -> Int? {
        guard let text = self[option] else { return nil }
        guard let number = Int(text), number >= 0 else { throw UsageError("--\(option) wants a number, got \(text)") }
        return number
    }

    func decimal(_ option: String) throws -> Double? {
        guard let text = self[option] else { return nil }
        guard let number = Double(text), number.isFinite else {
            throw UsageError("--\(option) wants a number, got \(text)")
        }
        return number
    }

    func folder(_ index: Int, _ what: String) throws -> URL {
        guard positional.indices.contains(index) else { throw UsageError("\(what) is missing") }
        return URL(fileURLWithPath: positional[index])
    }
}

/// A command line that cannot be understood.
struct UsageError: LocalizedError {
    let errorDescription: String?
    init(_ text: String) { errorDescription = text }
}
