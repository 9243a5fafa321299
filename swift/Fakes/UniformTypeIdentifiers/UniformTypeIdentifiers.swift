// Stands in for Apple's UniformTypeIdentifiers where there is none: what the example app names.
public struct UTType: Sendable {
    public static let folder = UTType()
}
