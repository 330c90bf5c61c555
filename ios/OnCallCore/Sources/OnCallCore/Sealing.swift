import Foundation

/// What the core asks of cryptography; the app answers with CryptoKit.
public protocol PageKeys: Sendable {
    /// A new X25519 private key, 32 raw bytes.
    func newPrivateKey() -> Data
    /// The raw public key of a raw private key.
    func publicKey(of privateKey: Data) throws -> Data
    func sha256(_ data: Data) -> Data
    /// Open with HPKE (RFC 9180), mode base, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305. Throws where
    /// it was tampered with or is for another key.
    func open(ciphertext: Data, encapsulated: Data, privateKey: Data, info: Data, aad: Data) throws -> Data
}

extension PageKeys {
    /// The key id: the first 16 hex digits of SHA-256 over the raw public key.
    public func keyID(of publicKey: Data) -> String { String(sha256(publicKey).hex.prefix(16)) }
}

/// The sealed part of a payload.
public struct Sealed: Equatable, Sendable {
    public static let info = Data("pushkit-bridge page 1".utf8)

    public var keyID: String
    public var encapsulated: Data
    public var ciphertext: Data

    init?(_ value: JSON) {
        guard value.object != nil else { return nil }
        // One that cannot be read is still sealed: it is said to be unopened, not taken for a clear push.
        keyID = value["kid"]?.string ?? ""
        encapsulated = value["enc"]?.string.flatMap(Data.init(base64url:)) ?? Data()
        ciphertext = value["ct"]?.string.flatMap(Data.init(base64url:)) ?? Data()
    }

    public static func aad(callID: String, keyID: String) -> Data { Data("\(callID) \(keyID)".utf8) }
}

/// This phone's page keys: the present one, and those of before, for pushes that were under way.
public struct KeyRing: Codable, Equatable, Sendable {
    public static let keptFor: TimeInterval = 24 * 3600

    public struct Key: Codable, Equatable, Sendable {
        public var keyID: String
        public var privateKey: Data
        public var publicKey: Data
        public var retiredAt: Date?
    }

    public private(set) var keys: [Key] = []

    public init() {}

    public var current: Key? { keys.last { $0.retiredAt == nil } }

    /// The present key, where the bridge seals for another or for none: its answer to the last one was lost, say.
    public func keyToPut(for device: Device) -> Key? {
        current.flatMap { device.seals && device.keyID != $0.keyID ? $0 : nil }
    }

    /// Make a new key the present one; the public half goes to the bridge. Keys that retired long ago are forgotten.
    public mutating func rotate(with crypto: PageKeys, now: Date) throws -> Key {
        let secret = crypto.newPrivateKey()
        let shown = try crypto.publicKey(of: secret)
        prune(now: now)
        for index in keys.indices where keys[index].retiredAt == nil { keys[index].retiredAt = now }
        keys.append(Key(keyID: crypto.keyID(of: shown), privateKey: secret, publicKey: shown, retiredAt: nil))
        return keys[keys.count - 1]
    }

    /// Take back a rotation that the bridge did not hear of: it goes on sealing for the key of before.
    public mutating func revive(_ keyID: String, now: Date) {
        for index in keys.indices {
            if keys[index].keyID == keyID {
                keys[index].retiredAt = nil
            } else if keys[index].retiredAt == nil {
                keys[index].retiredAt = now
            }
        }
    }

    public mutating func prune(now: Date) {
        keys.removeAll { key in key.retiredAt.map { now.timeIntervalSince($0) > KeyRing.keptFor } ?? false }
    }

    /// Open what is sealed in a reading. A push that cannot be opened is still a call: it keeps its name, `sealed`
    /// stays in it, and its receipts go by the device's credential unless it brings a URL of its own.
    public func open(_ reading: Reading, with crypto: PageKeys) -> Reading {
        guard case .push(let push) = reading, let sealed = push.sealed else { return reading }
        guard let key = keys.first(where: { $0.keyID == sealed.keyID }),
              let plain = try? crypto.open(
                  ciphertext: sealed.ciphertext, encapsulated: sealed.encapsulated, privateKey: key.privateKey,
                  info: Sealed.info, aad: Sealed.aad(callID: push.callID, keyID: sealed.keyID)
              ),
              let content = JSON(plain), content.object != nil
        else { return .push(push.unopened()) }
        return .push(push.opened(content))
    }
}
