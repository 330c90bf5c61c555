import Foundation

@testable import OnCallCore

/// HPKE in plain Swift, for tests alone: Linux has no CryptoKit. Written from RFC 9180, 7748, 8439, 5869 and FIPS
/// 180-4; it takes its time, and its time tells its secrets.
struct PlainHPKE: PageKeys {
    struct Tampered: Error {}

    func newPrivateKey() -> Data { Data((0..<32).map { _ in UInt8.random(in: 0...255) }) }

    func publicKey(of privateKey: Data) throws -> Data {
        Data(X25519.multiply([UInt8](privateKey), [9] + [UInt8](repeating: 0, count: 31)))
    }

    func sha256(_ data: Data) -> Data { Data(SHA256.hash([UInt8](data))) }

    func open(ciphertext: Data, encapsulated: Data, privateKey: Data, info: Data, aad: Data) throws -> Data {
        guard encapsulated.count == 32, privateKey.count == 32, ciphertext.count >= 16 else { throw Tampered() }
        let (key, nonce) = schedule(try decapsulate(encapsulated, privateKey), [UInt8](info))
        return Data(try ChaChaPoly.open([UInt8](ciphertext), key: key, nonce: nonce, aad: [UInt8](aad)))
    }

    private let kem = [UInt8]("KEM".utf8) + [0x00, 0x20]
    private let suite = [UInt8]("HPKE".utf8) + [0x00, 0x20, 0x00, 0x01, 0x00, 0x03]

    private func decapsulate(_ encapsulated: Data, _ privateKey: Data) throws -> [UInt8] {
        let shared = X25519.multiply([UInt8](privateKey), [UInt8](encapsulated))
        guard shared.contains(where: { $0 != 0 }) else { throw Tampered() }
        let secret = extract([], "eae_prk", shared, kem)
        return expand(secret, "shared_secret", [UInt8](encapsulated) + [UInt8](try publicKey(of: privateKey)), 32, kem)
    }

    private func schedule(_ shared: [UInt8], _ info: [UInt8]) -> (key: [UInt8], nonce: [UInt8]) {
        var context: [UInt8] = [0]
        context += extract([], "psk_id_hash", [], suite)
        context += extract([], "info_hash", info, suite)
        let secret = extract(shared, "secret", [], suite)
        return (expand(secret, "key", context, 32, suite), expand(secret, "base_nonce", context, 12, suite))
    }

    private func extract(_ salt: [UInt8], _ label: String, _ ikm: [UInt8], _ suite: [UInt8]) -> [UInt8] {
        var labelled = [UInt8]("HPKE-v1".utf8)
        for part in [suite, [UInt8](label.utf8), ikm] { labelled += part }
        return SHA256.hmac(key: salt, labelled)
    }

    private func expand(_ key: [UInt8], _ label: String, _ info: [UInt8], _ length: Int, _ suite: [UInt8]) -> [UInt8] {
        var labelled: [UInt8] = [UInt8(length >> 8), UInt8(length & 255)]
        for part in [[UInt8]("HPKE-v1".utf8), suite, [UInt8](label.utf8), info, [1]] { labelled += part }
        return Array(SHA256.hmac(key: key, labelled).prefix(length))  // one block is all that is asked for
    }
}

enum SHA256 {
    /// The first 32 bits of the fractional parts of roots of the first primes. The roots are below 32, so that a
    /// Double's 53 bits hold them.
    private static func fractions(_ count: Int, _ root: (Double) -> Double) -> [UInt32] {
        primes(count).map { UInt32(truncatingIfNeeded: UInt64(root(Double($0)) * 4_294_967_296)) }
    }

    private static func primes(_ count: Int) -> [Int] {
        var found: [Int] = []
        var next = 2
        while found.count < count {
            if !found.contains(where: { next % $0 == 0 }) { found.append(next) }
            next += 1
        }
        return found
    }

    private static let rounds = fractions(64) { cbrt($0) }
    private static let start = fractions(8) { $0.squareRoot() }

    static func hash(_ message: [UInt8]) -> [UInt8] {
        var padded = message + [0x80]
        padded += [UInt8](repeating: 0, count: (120 - padded.count % 64) % 64)
        for byte in 0..<8 { padded.append(UInt8(truncatingIfNeeded: (message.count * 8) >> (56 - 8 * byte))) }
        var state = start
        for block in stride(from: 0, to: padded.count, by: 64) { mix(&state, Array(padded[block..<block + 64])) }
        var out: [UInt8] = []
        for word in state { for byte in 0..<4 { out.append(UInt8(truncatingIfNeeded: word >> UInt32(24 - 8 * byte))) } }
        return out
    }

    private static func mix(_ state: inout [UInt32], _ block: [UInt8]) {
        func turn(_ word: UInt32, _ by: UInt32) -> UInt32 { word >> by | word << (32 - by) }
        var words = [UInt32](repeating: 0, count: 16)
        for i in 0..<64 { words[i / 4] = words[i / 4] << 8 | UInt32(block[i]) }
        for i in 16..<64 {
            let (x, y) = (words[i - 15], words[i - 2])
            let low: UInt32 = turn(x, 7) ^ turn(x, 18) ^ (x >> 3)
            let high: UInt32 = turn(y, 17) ^ turn(y, 19) ^ (y >> 10)
            let sum: UInt32 = words[i - 16] &+ low
            words.append(sum &+ words[i - 7] &+ high)
        }
        var v = state
        for i in 0..<64 {
            let e: UInt32 = turn(v[4], 6) ^ turn(v[4], 11) ^ turn(v[4], 25)
            let choice: UInt32 = (v[4] & v[5]) ^ (~v[4] & v[6])
            var first: UInt32 = v[7] &+ e &+ choice
            first = first &+ rounds[i] &+ words[i]
            let a: UInt32 = turn(v[0], 2) ^ turn(v[0], 13) ^ turn(v[0], 22)
            let majority: UInt32 = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2])
            let (top, middle): (UInt32, UInt32) = (first &+ a &+ majority, v[3] &+ first)
            v = [top, v[0], v[1], v[2], middle, v[4], v[5], v[6]]
        }
        state = zip(state, v).map { $0 &+ $1 }
    }

    static func hmac(key: [UInt8], _ message: [UInt8]) -> [UInt8] {
        let short = key.count > 64 ? hash(key) : key
        let padded = short + [UInt8](repeating: 0, count: 64 - short.count)
        let inner: [UInt8] = padded.map { $0 ^ 0x36 }
        let outer: [UInt8] = padded.map { $0 ^ 0x5C }
        return hash(outer + hash(inner + message))
    }
}

/// Numbers below 2^255 - 19 as 16 limbs of 16 bits.
enum X25519 {
    typealias Number = [Int64]

    static func multiply(_ scalar: [UInt8], _ point: [UInt8]) -> [UInt8] {
        var k = scalar
        k[0] &= 248
        k[31] = (k[31] & 127) | 64
        var u = point
        u[31] &= 127
        var x1 = Number(repeating: 0, count: 16)
        for i in 0..<32 { x1[i / 2] |= Int64(u[i]) << Int64(8 * (i % 2)) }
        let one: Number = small(1)
        var (x2, z2, x3, z3) = (one, Number(repeating: 0, count: 16), x1, one)
        for bit in stride(from: 254, through: 0, by: -1) {
            let swap: Bool = (k[bit / 8] >> UInt8(bit % 8)) & 1 == 1
            if swap { (x2, z2, x3, z3) = (x3, z3, x2, z2) }
            (x2, z2, x3, z3) = step(x1, x2, z2, x3, z3)
            if swap { (x2, z2, x3, z3) = (x3, z3, x2, z2) }
        }
        return bytes(times(x2, inverse(z2)))
    }

    private static func small(_ value: Int64) -> Number {
        var number = Number(repeating: 0, count: 16)
        number[0] = value
        return number
    }

    /// One step of RFC 7748's ladder.
    private static func step(_ x1: Number, _ x2: Number, _ z2: Number, _ x3: Number, _ z3: Number) -> (Number, Number, Number, Number) {
        let (a, b) = (plus(x2, z2), minus(x2, z2))
        let (aa, bb) = (times(a, a), times(b, b))
        let e = minus(aa, bb)
        let (da, cb) = (times(minus(x3, z3), a), times(plus(x3, z3), b))
        let (sum, difference) = (plus(da, cb), minus(da, cb))
        let a24 = small(121_665)
        return (
            times(aa, bb), times(e, plus(aa, times(a24, e))), times(sum, sum), times(x1, times(difference, difference))
        )
    }

    private static func plus(_ a: Number, _ b: Number) -> Number { carried((0..<16).map { a[$0] + b[$0] }) }
    private static func minus(_ a: Number, _ b: Number) -> Number { carried((0..<16).map { a[$0] - b[$0] }) }

    private static func times(_ a: Number, _ b: Number) -> Number {
        var wide = Number(repeating: 0, count: 31)
        for i in 0..<16 { for j in 0..<16 { wide[i + j] += a[i] * b[j] } }
        for i in 0..<15 { wide[i] += 38 * wide[i + 16] }  // 2^256 is 38
        return carried(Number(wide[0..<16]))
    }

    private static func carried(_ number: Number) -> Number {
        var n = number
        for _ in 0..<3 {
            for i in 0..<16 {
                let over = n[i] >> 16
                n[i] -= over << 16
                if i < 15 { n[i + 1] += over } else { n[0] += 38 * over }
            }
        }
        return n
    }

    /// By Fermat: to the power of p - 2, whose bits are all 1 but two.
    private static func inverse(_ number: Number) -> Number {
        var power = number
        for bit in stride(from: 253, through: 0, by: -1) {
            power = times(power, power)
            if bit != 2 && bit != 4 { power = times(power, number) }
        }
        return power
    }

    private static func bytes(_ number: Number) -> [UInt8] {
        var n = carried(number)
        for _ in 0..<2 {
            let top = n[15] >> 15
            n[15] &= 0x7FFF
            n[0] += 19 * top
            n = carried(n)
        }
        var more = n
        more[0] += 19
        more = carried(more)
        if more[15] >> 15 == 1 {
            more[15] &= 0x7FFF
            n = more
        }
        var out: [UInt8] = []
        for limb in n { out += [UInt8(truncatingIfNeeded: limb), UInt8(truncatingIfNeeded: limb >> 8)] }
        return out
    }
}

enum ChaChaPoly {
    static func open(_ sealed: [UInt8], key: [UInt8], nonce: [UInt8], aad: [UInt8]) throws -> [UInt8] {
        let (text, tag) = (Array(sealed.dropLast(16)), Array(sealed.suffix(16)))
        func padding(_ bytes: [UInt8]) -> [UInt8] { [UInt8](repeating: 0, count: (16 - bytes.count % 16) % 16) }
        func length(_ bytes: [UInt8]) -> [UInt8] {
            var out: [UInt8] = []
            for byte in 0..<8 { out.append(UInt8(truncatingIfNeeded: bytes.count >> (8 * byte))) }
            return out
        }
        var signed: [UInt8] = []
        for part in [aad, padding(aad), text, padding(text), length(aad), length(text)] { signed += part }
        guard poly(signed, key: Array(block(key, nonce, 0).prefix(32))) == tag else { throw PlainHPKE.Tampered() }
        var plain = text
        for start in stride(from: 0, to: text.count, by: 64) {
            let stream = block(key, nonce, UInt32(start / 64 + 1))
            for i in start..<min(start + 64, text.count) { plain[i] ^= stream[i - start] }
        }
        return plain
    }

    private static func words(_ bytes: [UInt8]) -> [UInt32] {
        var out = [UInt32](repeating: 0, count: bytes.count / 4)
        for i in bytes.indices { out[i / 4] |= UInt32(bytes[i]) << UInt32(8 * (i % 4)) }
        return out
    }

    private static func block(_ key: [UInt8], _ nonce: [UInt8], _ counter: UInt32) -> [UInt8] {
        var start: [UInt32] = words([UInt8]("expand 32-byte k".utf8))
        start += words(key)
        start.append(counter)
        start += words(nonce)
        var s = start
        func turn(_ a: Int, _ b: Int, _ c: Int, _ by: UInt32) {
            s[a] = s[a] &+ s[b]
            let mixed = s[c] ^ s[a]
            s[c] = (mixed << by) | (mixed >> (32 - by))
        }
        func quarter(_ a: Int, _ b: Int, _ c: Int, _ d: Int) {
            turn(a, b, d, 16)
            turn(c, d, b, 12)
            turn(a, b, d, 8)
            turn(c, d, b, 7)
        }
        for _ in 0..<10 {
            for i in 0..<4 { quarter(i, i + 4, i + 8, i + 12) }
            for i in 0..<4 { quarter(i, (i + 1) % 4 + 4, (i + 2) % 4 + 8, (i + 3) % 4 + 12) }
        }
        var out: [UInt8] = []
        for i in 0..<16 {
            let sum: UInt32 = s[i] &+ start[i]
            for byte in 0..<4 { out.append(UInt8(truncatingIfNeeded: sum >> UInt32(8 * byte))) }
        }
        return out
    }

    /// Poly1305, modulo 2^130 - 5, in 5 limbs of 26 bits.
    private static func poly(_ message: [UInt8], key: [UInt8]) -> [UInt8] {
        var clamped = Array(key.prefix(16))
        for i in [3, 7, 11, 15] { clamped[i] &= 15 }
        for i in [4, 8, 12] { clamped[i] &= 252 }
        let r = limbs(clamped + [0])
        var h = [UInt64](repeating: 0, count: 5)
        for start in stride(from: 0, to: message.count, by: 16) {
            let part = limbs(Array(message[start..<start + 16]) + [1])  // what is signed fills whole blocks
            for i in 0..<5 { h[i] += part[i] }
            var product = [UInt64](repeating: 0, count: 5)
            for i in 0..<5 {
                for j in 0..<5 {
                    let factor: UInt64 = i >= j ? r[i - j] : 5 * r[i - j + 5]
                    product[i] += h[j] * factor
                }
            }
            h = carried(product)
        }
        return tag(carried(h), Array(key.suffix(16)))
    }

    private static func limbs(_ bytes: [UInt8]) -> [UInt64] {
        var out = [UInt64](repeating: 0, count: 5)
        for bit in 0..<8 * bytes.count where bit < 130 {
            let set = UInt64(bytes[bit / 8] >> UInt8(bit % 8)) & 1
            out[bit / 26] |= set << UInt64(bit % 26)
        }
        return out
    }

    private static func carried(_ number: [UInt64]) -> [UInt64] {
        var n = number
        for _ in 0..<2 {
            for i in 0..<5 {
                let over = n[i] >> 26
                n[i] &= 0x3FF_FFFF
                if i < 4 { n[i + 1] += over } else { n[0] += 5 * over }
            }
        }
        return n
    }

    private static func tag(_ number: [UInt64], _ pad: [UInt8]) -> [UInt8] {
        var n = carried(number)
        if n[0] >= 0x3FF_FFFB, n[1...].allSatisfy({ $0 == 0x3FF_FFFF }) {
            n = [n[0] - 0x3FF_FFFB, 0, 0, 0, 0]  // it stood at the modulus, or just above
        }
        var out: [UInt8] = []
        var over = 0
        for i in 0..<16 {
            over += Int(pad[i])
            for bit in 8 * i..<8 * i + 8 {
                let set = Int(n[bit / 26] >> UInt64(bit % 26)) & 1
                over += set << (bit % 8)
            }
            out.append(UInt8(over & 255))
            over >>= 8
        }
        return out
    }
}
