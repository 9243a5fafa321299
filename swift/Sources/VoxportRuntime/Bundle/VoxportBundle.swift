import Foundation

/// The folder of a finished conversion, opened: its manifest read, its files found, no model loaded.
public struct VoxportBundle: Sendable {
    public let url: URL
    public let manifest: Manifest

    /// Opens the bundle in a folder.
    ///
    /// Throws ``VoxportError/bundle(_:)`` where the folder is no bundle, is incomplete, or names files outside itself.
    public init(contentsOf url: URL) throws {
        let file = url.appendingPathComponent("manifest.json")
        guard let json = try? Data(contentsOf: file) else {
            throw VoxportError.bundle("\(url.path) is not a bundle: it has no manifest.json")
        }
        let manifest = try Manifest(json: json)
        let named = manifest.components.map(\.artefact) + manifest.components.compactMap(\.validatedBy)
        for path in named + manifest.files.keys where !Self.staysInside(path) {
            throw VoxportError.bundle("\(path) points outside the bundle, or is no path")
        }
        // An app may leave the references out, which are PyTorch's programs: what it plays are the artefacts.
        for path in manifest.components.map(\.artefact)
        where !FileManager.default.fileExists(atPath: url.appendingPathComponent(path).path) {
            throw VoxportError.bundle("\(url.path): \(path) is missing")
        }
        self.url = url
        self.manifest = manifest
    }

    /// The component of a name. Throws where there is none.
    public func component(_ name: String) throws -> ComponentRecord {
        guard let component = manifest.components.first(where: { $0.name == name }) else {
            let names = manifest.components.map(\.name).joined(separator: ", ")
            throw VoxportError.bundle("\(manifest.name): name one of its components: \(names)")
        }
        return component
    }

    /// The component whose output is heard: the only one, or the one that ends a conversion or a voice, is sampled from
    /// or has a target.
    public var main: ComponentRecord {
        get throws {
            if case .local(let stage)? = manifest.conversion?.stages.last { return try component(stage.component) }
            if let voice = manifest.voice { return try component(voice.last) }
            if manifest.components.count == 1 { return manifest.components[0] }
            let last = manifest.components.first { $0.sampler != nil || !$0.targets.isEmpty }
            return try component(last?.name ?? "")
        }
    }

    /// Where a component's artefact lies.
    public func artefact(of component: ComponentRecord) -> URL { url.appendingPathComponent(component.artefact) }

    /// The golden inputs and outputs that lie in the bundle. Throws where they were left out.
    public func goldens() throws -> NPZ { try NPZ(contentsOf: url.appendingPathComponent("goldens.npz")) }

    /// Compares every file with the sha256 that the manifest has of it. Returns how many there are.
    ///
    /// What is not played may be left out: references and goldens. Throws ``VoxportError/bundle(_:)`` for a file that is
    /// missing, cannot be read or is another one.
    public func verify() throws -> Int {
        let played = manifest.components.map(\.artefact) + ["voice.npz"]
        var count = 0
        for (path, expected) in manifest.files.sorted(by: { $0.key < $1.key }) {
            let file = url.appendingPathComponent(path)
            guard FileManager.default.fileExists(atPath: file.path) else {
                guard !played.contains(where: { path == $0 || path.hasPrefix($0 + "/") }) else {
                    throw VoxportError.bundle("\(manifest.name): \(path) is missing")
                }
                continue
            }
            let digest: String
            do {
                digest = try SHA256Digest.of(file)
            } catch {
                throw VoxportError.bundle("\(manifest.name): \(path) cannot be read: \(error.localizedDescription)")
            }
            guard digest == expected else {
                throw VoxportError.bundle(
                    "\(manifest.name): sha256 of \(path) differs (\(digest), not \(expected)): copy the bundle again")
            }
            count += 1
        }
        return count
    }

    private static func staysInside(_ path: String) -> Bool {
        !path.isEmpty
            && path.split(separator: "/", omittingEmptySubsequences: false).allSatisfy {
                !$0.isEmpty && !$0.hasPrefix(".") && !$0.contains("\\")
            }
    }
}
