import Foundation
import Testing

@testable import VoxportRuntime

@Suite struct Manifests {
    @Test(.enabled(if: Fixtures.areThere), arguments: ["voice", "conversion"])
    func whatIsReadIsWrittenAgain(name: String) throws {
        let json = try Fixtures.file("\(name).manifest.json")
        let written = try Manifest(json: json).json()
        let python = try #require(Self.withoutNulls(JSONSerialization.jsonObject(with: json)) as? NSDictionary)
        let swift = try #require(JSONSerialization.jsonObject(with: written) as? NSDictionary)
        #expect(python.isEqual(to: swift as! [AnyHashable: Any]))
        report("manifest \(name)", "\(Self.leaves(python)) values equal")
    }

    @Test(.enabled(if: Fixtures.areThere)) func unknownKeysAreIgnored() throws {
        let json = try Fixtures.file("voice.manifest.json")
        var object = try #require(JSONSerialization.jsonObject(with: json) as? [String: Any])
        object["something_new"] = ["x": 1]
        let changed = try JSONSerialization.data(withJSONObject: object)
        #expect(try Manifest(json: changed) == Manifest(json: json))
    }

    @Test(.enabled(if: Fixtures.areThere)) func olderSchemasMeanWhatPythonReadsOfThem() throws {
        let json = try JSONSerialization.jsonObject(with: Fixtures.file("older_manifests.json"))
        let cases = try #require(json as? [[String: Any]])
        for one in cases {
            let name = try #require(one["name"] as? String)
            let old = try JSONSerialization.data(withJSONObject: try #require(one["old"]))
            let json = try JSONSerialization.jsonObject(with: Manifest(json: old).json())
            let read = try #require(json as? [AnyHashable: Any])
            let now = try #require(one["now"])
            let python = try #require(Self.withoutNulls(now) as? NSDictionary)
            #expect(python.isEqual(to: read), "\(name)")
        }
        report("manifests of older schemas, and with defaults left out", "\(cases.count) equal")
    }

    @Test(arguments: [0, 5]) func anotherSchemaIsRefusedInASentence(schema: Int) {
        do {
            _ = try Manifest(json: Data(#"{"schema_version": \#(schema), "name": "other"}"#.utf8))
            Issue.record("it was read")
        } catch {
            #expect("\(error)".contains("has schema \(schema), this runtime reads schemas 1 to 4"))
        }
    }

    @Test(.enabled(if: Fixtures.areThere)) func damageIsNamedByItsPlace() throws {
        let json = try Fixtures.file("voice.manifest.json")
        let text = String(decoding: json, as: UTF8.self)
        let broken = text.replacingOccurrences(of: #""hop_length": 256"#, with: #""hop_length": "many""#)
        do {
            _ = try Manifest(json: Data(broken.utf8))
            Issue.record("it was read")
        } catch {
            #expect("\(error)".contains("the manifest is damaged: components.0.features.mel"))
        }
    }

    @Test func aFolderWithoutAManifestIsNoBundle() {
        #expect(throws: VoxportError.self) { try VoxportBundle(contentsOf: URL(fileURLWithPath: "/nowhere")) }
    }

    @Test(.enabled(if: Fixtures.areThere)) func aPathOutOfTheBundleIsRefused() throws {
        let text = String(decoding: try Fixtures.file("voice.manifest.json"), as: UTF8.self)
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let escaping = text.replacingOccurrences(of: "decoder.mlpackage", with: "../decoder.mlpackage")
        try Data(escaping.utf8).write(to: folder.appendingPathComponent("manifest.json"))
        do {
            _ = try VoxportBundle(contentsOf: folder)
            Issue.record("it was opened")
        } catch {
            #expect("\(error)".contains("../decoder.mlpackage points outside the bundle"))
        }
    }

    private static func withoutNulls(_ value: Any) -> Any {
        switch value {
        case let object as [String: Any]: return object.filter { !($0.value is NSNull) }.mapValues(withoutNulls)
        case let list as [Any]: return list.map(withoutNulls)
        default: return value
        }
    }

    private static func leaves(_ value: Any) -> Int {
        switch value {
        case let object as [String: Any]: return object.values.reduce(0) { $0 + leaves($1) }
        case let list as [Any]: return list.reduce(0) { $0 + leaves($1) }
        default: return 1
        }
    }
}

@Suite struct Arrays {
    struct Case: Decodable {
        let arrays: String
        let dtype: ElementType?
        let shape: [Int]?
        let values: [Double]?
        let text: String?
    }

    @Test(.enabled(if: Fixtures.areThere)) func ofEveryTypeAreReadAsNumpyWroteThem() throws {
        let cases = try Fixtures.cases("arrays", Case.self)
        for one in cases {
            let array = try Fixtures.array("\(one.arrays)/a")
            guard let dtype = one.dtype else {
                #expect(array.text == one.text)
                continue
            }
            let tensor = try #require(array.tensor)
            #expect(tensor.type == dtype)
            #expect(tensor.shape == one.shape)
            #expect(tensor.floats == one.values?.map(Float.init))
        }
        report("NPZ", "\(cases.count) arrays equal")
    }

    @Test(.enabled(if: Fixtures.areThere)) func halfPrecisionIsNumpys() throws {
        guard case .float16(let bits) = try Fixtures.tensor("half/0/half").elements,
            case .float16(let rounded) = try Fixtures.tensor("half/0/as_half").elements
        else {
            Issue.record("they are no half-precision numbers")
            return
        }
        let numbers = try Fixtures.floats("half/0/as_float")
        let wide = try Fixtures.floats("half/0/wide")
        #expect(zip(bits, numbers).allSatisfy { HalfPrecision.float($0.0).bitPattern == $0.1.bitPattern })
        #expect(zip(bits, numbers).allSatisfy { HalfPrecision.bits($0.1) == $0.0 })
        #expect(zip(wide, rounded).allSatisfy { HalfPrecision.bits($0.0) == $0.1 })
        report("half precision", "\(bits.count) numbers and \(wide.count) roundings equal")
    }

    @Test func whatIsWrittenIsReadAgain() throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).npz")
        defer { try? FileManager.default.removeItem(at: file) }
        let tensors = [
            "a/b": Tensor([1, 2, 3, 4, 5, 6] as [Float], shape: [1, 2, 3]), "c": Tensor([7] as [Int32], shape: [1]),
            "none": Tensor(zeros: [0, 4], type: .float64), "flags": Tensor(shape: [2], elements: .bool([true, false])),
        ]
        try NPZ.write(tensors, to: file)
        #expect(try NPZ(contentsOf: file).arrays.mapValues(\.tensor) == tensors)
    }

    @Test func damageIsASentence() throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).npz")
        defer { try? FileManager.default.removeItem(at: file) }
        try Data("no archive at all, though it is long enough".utf8).write(to: file)
        do {
            _ = try NPZ(contentsOf: file)
            Issue.record("it was read")
        } catch {
            #expect("\(error)".hasSuffix(".npz is damaged: it is no zip archive"))
        }
    }

    @Test func tensorsAreCutAndJoinedAlongAnyAxis() {
        let tensor = Tensor((0..<24).map(Float.init), shape: [2, 3, 4])
        for axis in 0..<3 {
            let size = tensor.shape[axis]
            for at in 0...size {
                let parts = [tensor.cut(0..<at, along: axis), tensor.cut(at..<size, along: axis)]
                #expect(Tensor.joined(parts, along: axis) == tensor)
            }
        }
        #expect(tensor.cut(1..<3, along: 2).floats == [1, 2, 5, 6, 9, 10, 13, 14, 17, 18, 21, 22])
        #expect(
            Tensor([1, 2] as [Float], shape: [1, 2]).padded(to: 3, along: [0, 1]).floats == [1, 2, 0, 0, 0, 0, 0, 0, 0])
    }
}

@Suite struct Digests {
    /// Of FIPS 180-4's examples, and of a million letters.
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
    ])
    func aDigestIsThatOfTheStandard(text: String, expected: String) {
        var digest = PortableSHA256()
        digest.update(Array(text.utf8))
        #expect(digest.finished() == expected)
    }

    @Test func itIsTheSameInPiecesOfAnySize() {
        let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0 * 7) }
        var whole = SHA256Digest()
        whole.update(Data(bytes))
        let expected = whole.finished()
        for size in [1, 55, 56, 63, 64, 65, 999] {
            var digest = PortableSHA256()
            for start in stride(from: 0, to: 1000, by: size) { digest.update(bytes[start..<min(start + size, 1000)]) }
            #expect(digest.finished() == expected)
        }
    }

    @Test(.enabled(if: Fixtures.areThere)) func anotherFileThanWasWrittenIsNamed() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        let package = folder.appendingPathComponent("decoder.mlpackage")
        try FileManager.default.createDirectory(at: package, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        var manifest = try #require(
            JSONSerialization.jsonObject(with: Fixtures.file("conversion.manifest.json")) as? [String: Any])
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        manifest["files"] = ["decoder.mlpackage/weights": hash, "goldens.npz": hash, "reference/decoder.pt2": hash]
        try JSONSerialization.data(withJSONObject: manifest).write(to: folder.appendingPathComponent("manifest.json"))
        for name in ["content_encoder.mlpackage", "decoder.mlpackage/weights"] {
            try Data("abc".utf8).write(to: folder.appendingPathComponent(name))
        }
        let bundle = try VoxportBundle(contentsOf: folder)
        #expect(try bundle.verify() == 1)  // references and goldens were left out
        try Data("abd".utf8).write(to: folder.appendingPathComponent("goldens.npz"))
        #expect { _ = try bundle.verify() } throws: { "\($0)".contains("sha256 of goldens.npz differs") }
        try FileManager.default.removeItem(at: folder.appendingPathComponent("goldens.npz"))
        try FileManager.default.removeItem(at: package.appendingPathComponent("weights"))
        #expect { _ = try bundle.verify() } throws: { "\($0)".contains("decoder.mlpackage/weights is missing") }
    }
}
