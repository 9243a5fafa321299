import Foundation

#if canImport(CryptoKit)
    import CryptoKit
#endif

/// SHA-256 of what comes piece by piece (FIPS 180-4): Apple's where it is, else this one.
struct SHA256Digest {
    #if canImport(CryptoKit)
        private var hasher = CryptoKit.SHA256()

        mutating func update(_ data: Data) { hasher.update(data: data) }

        /// The digest in hexadecimal.
        mutating func finished() -> String { hasher.finalize().map { String(format: "%02x", $0) }.joined() }
    #else
        private var portable = PortableSHA256()

        mutating func update(_ data: Data) { portable.update(data) }

        /// The digest in hexadecimal.
        mutating func finished() -> String { portable.finished() }
    #endif

    /// The digest of a file, which is read by the megabyte. Throws where it cannot be read.
    static func of(_ url: URL) throws -> String {
        let file = try FileHandle(forReadingFrom: url)
        defer { try? file.close() }
        var digest = SHA256Digest()
        while let data = try file.read(upToCount: 1 << 20), !data.isEmpty { digest.update(data) }
        return digest.finished()
    }
}

/// SHA-256 where no library has it.
struct PortableSHA256 {
    private var state: [UInt32] = [
        0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
    ]
    private var schedule = [UInt32](repeating: 0, count: 64)
    private var waiting: [UInt8] = []
    private var length: UInt64 = 0

    mutating func update(_ data: some Collection<UInt8>) {
        length += UInt64(data.count)
        waiting += data
        let whole = waiting.count / 64 * 64
        waiting.withUnsafeBufferPointer { bytes in
            for start in stride(from: 0, to: whole, by: 64) { take(bytes.baseAddress! + start) }
        }
        waiting.removeFirst(whole)
    }

    /// Ends the message: a one, zeros, and its length in bits.
    mutating func finished() -> String {
        let bits = length &* 8
        var end: [UInt8] = [0x80] + [UInt8](repeating: 0, count: (119 - waiting.count) % 64)
        for shift in stride(from: 56, through: 0, by: -8) {
            end.append(UInt8(truncatingIfNeeded: bits >> UInt64(shift)))
        }
        update(end)
        return state.map { String(format: "%08x", $0) }.joined()
    }

    /// The fractional parts of the cube roots of the first 64 primes.
    private static let constants: [UInt32] = [
        0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
        0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
        0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
        0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
        0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
        0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
        0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
        0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
    ]

    private mutating func take(_ block: UnsafePointer<UInt8>) {
        func turned(_ word: UInt32, _ by: UInt32) -> UInt32 { word >> by | word << (32 - by) }
        for index in 0..<16 {
            schedule[index] = (0..<4).reduce(0) { $0 << 8 | UInt32(block[4 * index + $1]) }
        }
        for index in 16..<64 {
            let (early, late) = (schedule[index - 15], schedule[index - 2])
            let first = turned(early, 7) ^ turned(early, 18) ^ early >> 3
            let second = turned(late, 17) ^ turned(late, 19) ^ late >> 10
            schedule[index] = schedule[index - 16] &+ first &+ schedule[index - 7] &+ second
        }
        var (a, b, c, d) = (state[0], state[1], state[2], state[3])
        var (e, f, g, h) = (state[4], state[5], state[6], state[7])
        for index in 0..<64 {
            let second = turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)
            let choice = (e & f) ^ (~e & g)
            let one = h &+ second &+ choice &+ Self.constants[index] &+ schedule[index]
            let first = turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)
            let majority = (a & b) ^ (a & c) ^ (b & c)
            (h, g, f, e, d, c, b, a) = (g, f, e, d &+ one, c, b, a, one &+ first &+ majority)
        }
        for (index, word) in [a, b, c, d, e, f, g, h].enumerated() { state[index] &+= word }
    }
}
